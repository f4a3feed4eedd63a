package workers_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/worker"
	"rpcpool.dev/rpc/workers"
)

// liars starts workers that are no processes, and say what a test wants.
type liars struct {
	say      func(p conn.Peer, seq uint64)
	fail     int  // so many starts fail
	brief    bool // their channels end when they are ready
	features frame.Features

	mu     sync.Mutex
	starts int
}

// liar is such a worker.
type liar struct {
	say      func(p conn.Peer, seq uint64)
	features frame.Features
	ours     net.Conn
	theirs   net.Conn
	once     sync.Once
	exited   chan struct{}
}

func (l *liars) Start(context.Context) (workers.Process, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.starts++; l.starts <= l.fail {
		return nil, errors.New("no device")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	w := &liar{say: l.say, features: l.features, exited: make(chan struct{})}
	for i, end := range []*net.Conn{&w.ours, &w.theirs} {
		f := os.NewFile(uintptr(pair[i]), "end")
		if *end, err = net.FileConn(f); err != nil {
			return nil, err
		}
		_ = f.Close()
	}
	go func() {
		c, err := conn.Accept(context.Background(), w.theirs, func(h *frame.Hello) frame.HelloAck { return frame.Answer(h, frame.HelloAck{Features: l.features}) }, w, worker.Options())
		if err == nil && l.brief { // its end is not seen before that it was ready
			_ = c.Close()
			return
		}
		if err == nil {
			<-c.Done()
		}
		w.Kill()
	}()
	return w, nil
}

func (w *liar) Message(p conn.Peer, in *conn.In) {
	if in.Type == frame.TypeCall {
		w.say(p, in.Seq)
	}
}

func (*liar) Closed(conn.Peer, error, []uint64) {}

func (w *liar) Channel() net.Conn { return w.ours }
func (w *liar) Kill() {
	w.once.Do(func() {
		_ = w.theirs.Close()
		close(w.exited)
	})
}
func (w *liar) Exited() <-chan struct{} { return w.exited }
func (w *liar) Report() crash.Report    { return crash.Report{Status: 0} }

// say makes a worker's message.
func say(p conn.Peer, t frame.Type, seq uint64, body []byte) {
	m := conn.Message{Header: frame.Header{Type: t, Seq: seq}, Body: body}
	if t.Metered() {
		m.Priority = frame.PriorityNormal
	}
	_ = p.Queue(&m)
}

func failure(code session.Code, ran frame.Execution, text string) []byte {
	f := frame.Failure{Code: uint16(code), Execution: ran, Text: []byte(text)}
	return f.Append(nil)
}

// TestALyingWorkerHarmsNobody: what a worker says that cannot be is not believed, and
// the slots are as many afterwards as before.
func TestALyingWorkerHarmsNobody(t *testing.T) {
	for lie, c := range map[string]struct {
		say  func(p conn.Peer, seq uint64)
		code session.Code
		ran  session.Execution
	}{
		"answers twice": {func(p conn.Peer, seq uint64) {
			say(p, frame.TypeReply, seq, []byte("one"))
			say(p, frame.TypeReply, seq, []byte("two"))
		}, session.OK, session.Executed},
		"answers what nobody asked": {func(p conn.Peer, seq uint64) {
			say(p, frame.TypeReply, seq+99, []byte("two"))
			say(p, frame.TypeReply, seq, []byte("one"))
		}, session.OK, session.Executed},
		"lends a slot many times, and takes back what it never had": {func(p conn.Peer, seq uint64) {
			for _, t := range []frame.Type{frame.TypeStarted, frame.TypeInProgress, frame.TypeInProgress} {
				say(p, t, seq, nil)
				say(p, t, seq+7, nil)
			}
			say(p, frame.TypeReply, seq, []byte("one"))
			say(p, frame.TypeStarted, seq, nil)
		}, session.OK, session.Executed},
		"says that it has crashed": {func(p conn.Peer, seq uint64) {
			say(p, frame.TypeError, seq, failure(session.Crashed, frame.Indeterminate, "one"))
		}, session.Failed, session.Executed},
		"says that the call is poisonous": {func(p conn.Peer, seq uint64) {
			say(p, frame.TypeError, seq, failure(session.Poisoned, frame.Executed, "one"))
		}, session.Failed, session.Executed},
		"did not run it": {func(p conn.Peer, seq uint64) {
			say(p, frame.TypeError, seq, failure(session.Invalid, frame.NotExecuted, "one"))
		}, session.Invalid, session.NotExecuted},
	} {
		t.Run(lie, func(t *testing.T) {
			r := newRig(t, setting{starter: &liars{say: c.say}})
			for range 5 {
				if u := r.call("any", "x"); u.Outcome.Code != c.code || u.Outcome.Execution != c.ran || string(u.Reply)+u.Text != "one" {
					t.Errorf("%+v, %q %q", u.Outcome, u.Reply, u.Text)
				}
			}
		})
	}
}

// TestALyingWorkerNamesBlobs that it was not lent: its call ends with one error that says so.
func TestALyingWorkerNamesBlobs(t *testing.T) {
	nobodys := blob.Arg{Handle: blob.Handle{ID: 1, Generation: 1, Rights: blob.Read, Length: 1}, Mode: blob.Out, Body: true}
	for lie, c := range map[string]struct {
		blobs uint8
		body  []byte
		code  session.Code
		ran   session.Execution
		says  string
		ends  crash.Cause // of each worker that has said so; empty: it serves on
	}{
		"one that nobody has asked for": {1, blob.AppendArgs(nil, []blob.Arg{nobodys}), session.ReplyLost, session.Executed, "nobody has asked for", ""},
		"one, and says nothing of it":   {1, []byte("one"), session.Failed, session.Executed, "result of the worker: malformed", ""},
		"more than there may be":        {255, make([]byte, 255*blob.ArgLen), session.Crashed, session.Indeterminate, "protocol", crash.Protocol},
	} {
		t.Run(lie, func(t *testing.T) {
			r := newRig(t, setting{starter: &liars{features: frame.FeatureBlobs, say: func(p conn.Peer, seq uint64) {
				h := frame.Header{Type: frame.TypeReply, Seq: seq, Priority: frame.PriorityNormal}
				_ = p.Queue(&conn.Message{Header: h, Ext: frame.Ext{Blobs: c.blobs}, Body: c.body})
			}}})
			for range 5 {
				if u := r.call("any", "x"); u.Outcome.Code != c.code || u.Outcome.Execution != c.ran || len(u.Reply) > 0 || !strings.Contains(u.Text, c.says) {
					t.Errorf("%+v, %q %q", u.Outcome, u.Reply, u.Text)
				}
			}
			want := uint64(0)
			if c.ends != "" {
				want = 5
			}
			if s := r.pool.Status(); s.Ends[c.ends] != want || s.Crashed != want {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestAnAnswerBeforeTheArgumentsWaits: the memory of arguments is not given to others
// while it is still being written, whatever the worker says.
func TestAnAnswerBeforeTheArgumentsWaits(t *testing.T) {
	var came [3]atomic.Bool
	var flood sync.WaitGroup
	flood.Add(1)
	r := newRig(t, setting{starter: &liars{say: func(p conn.Peer, seq uint64) {
		came[seq].Store(true)
		say(p, frame.TypeReply, seq, []byte("in time"))
		if seq == 1 {
			go func() {
				defer flood.Done()
				for i := 0; i < 1_000_000 && !came[2].Load(); i++ {
					_ = p.TrySend(&conn.Message{Header: frame.Header{Type: frame.TypeReply, Priority: frame.PriorityNormal, Seq: 2}, Body: []byte("early")})
				}
			}()
		}
	}}})
	if u := r.call("any", "x"); string(u.Reply) != "in time" {
		t.Errorf("%+v", u)
	}
	u := r.call("any", strings.Repeat("x", 8<<20))
	if u.Outcome.Code != session.OK || string(u.Reply) != "early" && string(u.Reply) != "in time" {
		t.Errorf("%+v: %q %s", u.Outcome, u.Reply, u.Text)
	}
	flood.Wait()
	if !came[2].Load() {
		t.Error("the arguments did not arrive")
	}
}

// TestAWorkerThatSaysGoodbyeIsReplaced: what ran in it has crashed.
func TestAWorkerThatSaysGoodbyeIsReplaced(t *testing.T) {
	r := newRig(t, setting{starter: &liars{say: func(p conn.Peer, _ uint64) {
		_ = p.TrySend(&conn.Message{Header: frame.Header{Type: frame.TypeGoAway}, Body: (&frame.GoAway{Reason: frame.ReasonShutdown}).Append(nil)})
	}}})
	for range 3 {
		u := client.Call{Method: "any"}
		r.client.Do(t.Context(), &u)
		report(t, &u)
	}
}

// TestAStarterThatFailsIsTriedAgain: and what waits is served then.
func TestAStarterThatFailsIsTriedAgain(t *testing.T) {
	r := newRig(t, setting{starter: &liars{fail: 2, say: func(p conn.Peer, s uint64) { say(p, frame.TypeReply, s, nil) }}, workers: workers.Options{Spares: -1}})
	if u := r.call("any", ""); u.Outcome.Code != session.OK {
		t.Errorf("%+v: %s", u.Outcome, u.Text)
	}
	if s := r.pool.Status(); s.Err != nil || s.Starts != 1 {
		t.Errorf("%+v", s)
	}
}

// TestWhyNoWorkerServesIsKnown: also of one that was ready, and has served nothing.
func TestWhyNoWorkerServesIsKnown(t *testing.T) {
	r := newRig(t, setting{starter: &liars{brief: true}, workers: workers.Options{Spares: -1}})
	eventually(t, "one that was ready is told of", func() bool {
		var e *workers.UnservedError
		return errors.As(r.pool.Status().Err, &e) && e.Err == nil && e.Report.Ending() == "status 0"
	})
}
