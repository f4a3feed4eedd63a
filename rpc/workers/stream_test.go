package workers_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/items"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
	"rpcpool.dev/rpc/workers"
)

// upper sends every item back in capitals, and does what some say.
func upper(j *server.Job) (session.Code, []byte) {
	ran(j)
	for {
		b, err := j.Stream().Recv(j)
		switch {
		case errors.Is(err, io.EOF):
			return session.OK, append(j.Scratch(), "over"...)
		case err != nil:
			return session.Failed, wire.Failure(0, "interrupted: "+err.Error(), nil)
		case string(b) == "segv":
			segfault()
		case string(b) == "deaf":
			select {}
		}
		if err := j.Stream().Send(j, bytes.ToUpper(b)); err != nil {
			return session.Failed, wire.Failure(0, "interrupted: "+err.Error(), nil)
		}
	}
}

var sent atomic.Int64

// flood sends as many items as it is told, and receives none.
func flood(j *server.Job) (session.Code, []byte) {
	n, _ := strconv.Atoi(string(j.Args))
	for i := range n {
		if err := j.Stream().Send(j, bytes.Repeat([]byte{byte(i)}, itemLen)); err != nil {
			return session.Failed, wire.Failure(0, err.Error(), nil)
		}
		sent.Add(1)
	}
	return session.OK, nil
}

func flooded(*server.Job) (session.Code, []byte) {
	return session.OK, strconv.AppendInt(nil, sent.Load(), 10)
}

const itemLen = 32 << 10

// hops is how many items may be under way if nobody takes them: a window and the item that is
// handed on, between client and server and between server and worker.
const hops = 2 * (items.Window/itemLen + 2)

func (r *rig) stream(ctx context.Context, method, args string, how ...func(*client.Call)) *client.Stream {
	u := &client.Call{Method: method, Args: []byte(args)}
	for _, f := range how {
		f(u)
	}
	return r.client.Stream(ctx, u)
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// echoes fails unless an item comes back.
func echoes(t *testing.T, s *client.Stream, item string) {
	t.Helper()
	if err := s.Send(t.Context(), []byte(item)); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Recv(soon(t)); err != nil || string(b) != strings.ToUpper(item) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
}

func TestAStreamRunsInAWorker(t *testing.T) {
	for name, args := range map[string]string{"that is short": "x", "whose start is long": strings.Repeat("x", 3<<20)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setting{})
			for range 3 {
				s := r.stream(soon(t), "upper", args)
				for i := range 300 {
					echoes(t, s, fmt.Sprintf("item %d", i))
				}
				echoes(t, s, strings.Repeat("long ", 100<<10))
				if err := s.CloseSend(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Recv(soon(t)); !errors.Is(err, io.EOF) {
					t.Errorf("after the last item: %v", err)
				}
				if u := s.Close(); u.Outcome.Code != session.OK || string(u.Reply) != "over" {
					t.Errorf("%+v, %q: %s", u.Outcome, u.Reply, u.Text)
				}
			}
			r.works()
		})
	}
}

// An idempotent stream is not run again either: its items are gone.
func TestAStreamWhoseWorkerDiesSaysWhy(t *testing.T) {
	r := newRig(t, setting{})
	s := r.stream(soon(t), "upper", "x", idempotent)
	echoes(t, s, "one")
	if err := s.Send(t.Context(), []byte("segv")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(soon(t)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if rep := report(t, s.Close()); rep.Cause != crash.Signal || rep.Signal != int(unix.SIGSEGV) {
		t.Errorf("%+v", rep)
	}
	if n := len(r.ran()); n != 1 {
		t.Errorf("it ran %d times", n)
	}
	r.works()
}

func TestAStreamThatOutlivesItsTimeIsKilled(t *testing.T) {
	r := newRig(t, setting{workers: workers.Options{Grace: 50 * time.Millisecond}, methods: []server.Method{
		{Name: "upper", Timeout: 500 * time.Millisecond}, {Name: "echo"},
	}})
	s := r.stream(soon(t), "upper", "x")
	echoes(t, s, "one")
	_ = s.Send(t.Context(), []byte("deaf"))
	if rep := report(t, s.Result()); rep.Cause != crash.Timeout {
		t.Errorf("%+v", rep)
	}
	r.works()
}

func TestAStreamThatNobodyWantsIsInterrupted(t *testing.T) {
	for name, leave := range map[string]func(*client.Client, *client.Stream){
		"its client closes it":         func(_ *client.Client, s *client.Stream) { s.Close() },
		"its client's connection ends": func(c *client.Client, _ *client.Stream) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setting{})
			before := string(r.call("pid", "").Reply)
			c := r.another(client.Options{Grace: time.Millisecond})
			s := c.Stream(soon(t), &client.Call{Method: "upper"})
			echoes(t, s, "one")
			leave(c, s)
			eventually(t, "it has ended", func() bool { return r.core.Counts().Running == 0 })
			if after := string(r.call("pid", "").Reply); after != before {
				t.Errorf("worker %s was replaced by %s", before, after)
			}
		})
	}
}

// The credit of a stream is that of its slowest part: what nobody reads is bounded at each hop.
func TestASlowReaderSlowsTheOtherEndAcrossTheServer(t *testing.T) {
	r := newRig(t, setting{workers: workers.Options{Concurrency: 2}})
	t.Run("the client reads nothing", func(t *testing.T) {
		const total = 1000
		s := r.stream(soon(t), "flood", strconv.Itoa(total))
		last := -1
		eventually(t, "the worker waits", func() bool {
			time.Sleep(20 * time.Millisecond)
			n, _ := strconv.Atoi(string(r.call("flooded", "").Reply))
			still := n == last && n > 0
			last = n
			return still
		})
		if last > hops {
			t.Errorf("the worker has sent %d items, want %d at most", last, hops)
		}
		for i := range total {
			if b, err := s.Recv(soon(t)); err != nil || len(b) != itemLen || b[0] != byte(i) {
				t.Fatalf("item %d: %d bytes, %v", i, len(b), err)
			}
		}
		if u := s.Result(); u.Outcome.Code != session.OK || s.Received() != total {
			t.Errorf("%+v, %d items: %s", u.Outcome, s.Received(), u.Text)
		}
	})
	t.Run("the worker reads nothing", func(t *testing.T) {
		ctx, cancel := context.WithCancel(soon(t))
		s := r.stream(ctx, "upper", "x")
		if err := s.Send(ctx, []byte("deaf")); err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; n <= hops; n++ {
			short, done := context.WithTimeout(ctx, 300*time.Millisecond)
			err := s.Send(short, make([]byte, itemLen))
			done()
			if err != nil {
				break
			}
		}
		if n > hops {
			t.Errorf("the client has sent %d items and goes on", n)
		}
		r.works() // it holds up nobody else
		cancel()
	})
}

// TestNothingOfAnItemComesBehindTheEndOfItsCall: a worker dies when a part of its item has gone to the client, who would
// take the rest for a broken rule, and reads nothing for now, which nobody waits for.
func TestNothingOfAnItemComesBehindTheEndOfItsCall(t *testing.T) {
	for name, end := range map[string]func(r *rig, die chan struct{}){
		"its worker dies":  func(_ *rig, die chan struct{}) { close(die) },
		"the server stops": func(r *rig, die chan struct{}) { _ = r.pool.Close(); close(die) },
	} {
		t.Run(name, func(t *testing.T) {
			const long = 1 << 20
			begin, die, sent := make(chan struct{}), make(chan struct{}), make(chan struct{})
			var calls atomic.Int32
			r := newRig(t, setting{workers: workers.Options{Concurrency: 2}, starter: &liars{features: frame.FeatureStreams, say: func(p conn.Peer, seq uint64) {
				if calls.Add(1) > 1 {
					<-sent // else its end may be another goroutine's than the reader's
					say(p, frame.TypeReply, seq, nil)
					return
				}
				go func() {
					<-begin
					_ = p.TrySend(&conn.Message{Header: frame.Header{Type: frame.TypeReply, Flags: frame.FlagStream, Priority: frame.PriorityNormal, Seq: seq}, Body: make([]byte, long)})
					<-die
					if c, ok := p.(*conn.Conn); ok {
						_ = c.Close()
					}
				}()
			}}})
			var socket *net.UnixConn
			c := r.another(client.Options{Pool: conn.PoolOptions{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
				socket, _ = nc.(*net.UnixConn)
				return struct{ *net.UnixConn }{socket}, err // which stays the socket's owner
			}}})
			s := c.Stream(soon(t), &client.Call{Method: "any"})
			eventually(t, "the worker has the stream", func() bool { return calls.Load() == 1 })
			reads, blocked := make(chan struct{}), make(chan struct{})
			c.Start(soon(t), &client.Call{Method: "any"}, func(*client.Call) { // by who reads, who does nothing else then
				close(blocked)
				<-reads
			})
			close(sent)
			<-blocked
			close(begin)
			eventually(t, "a part has come", func() bool { return unread(t, socket) >= frame.MessageAllowance })
			end(r, die)
			eventually(t, "the call is over", func() bool { return r.core.Counts().Running == 0 })
			close(reads)
			if u := s.Close(); u.Outcome.Code != session.Crashed {
				t.Errorf("%+v: %s", u.Outcome, u.Text)
			}
			for i := range 10 { // the server says something to each, though there may be no worker any more
				ctx, cancel := context.WithTimeout(soon(t), 20*time.Millisecond)
				c.Do(ctx, &client.Call{Method: "any", Args: []byte{byte(i)}})
				cancel()
			}
			if n := c.Counts().Sockets.Dials; n != 1 {
				t.Errorf("%d connections, want one", n)
			}
		})
	}
}

// unread returns how many bytes wait in a socket.
func unread(t *testing.T, c *net.UnixConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestALyingWorkersStreamIsNotBelieved(t *testing.T) {
	end := func(p conn.Peer, seq, count uint64) {
		say(p, frame.TypeReply, seq, binary.LittleEndian.AppendUint64(nil, count))
	}
	item := func(p conn.Peer, seq uint64, n int) {
		_ = p.Queue(&conn.Message{Header: frame.Header{Type: frame.TypeReply, Flags: frame.FlagStream, Priority: frame.PriorityNormal, Seq: seq}, Body: make([]byte, n)})
	}
	for lie, x := range map[string]struct {
		say      func(p conn.Peer, seq uint64)
		features frame.Features
		code     session.Code
		text     string
	}{
		"it tells the truth":         {func(p conn.Peer, seq uint64) { item(p, seq, 3); end(p, seq, 1) }, frame.FeatureStreams, session.OK, ""},
		"it counts too many":         {func(p conn.Peer, seq uint64) { item(p, seq, 3); end(p, seq, 2) }, frame.FeatureStreams, session.Failed, "2 items"},
		"it does not count":          {func(p conn.Peer, seq uint64) { say(p, frame.TypeReply, seq, []byte("over")) }, frame.FeatureStreams, session.Failed, "malformed"},
		"it knows no streams":        {func(conn.Peer, uint64) {}, 0, session.Unimplemented, "takes no streams"},
		"it sends items of nobody's": {func(p conn.Peer, seq uint64) { item(p, seq+5, 3); end(p, seq, 0) }, frame.FeatureStreams, session.OK, ""},
		"it sends more than it may": {func(p conn.Peer, seq uint64) {
			for range 100 {
				item(p, seq, itemLen)
			}
		}, frame.FeatureStreams, session.Crashed, "worker ended"},
	} {
		t.Run(lie, func(t *testing.T) {
			r := newRig(t, setting{starter: &liars{say: x.say, features: x.features}})
			if u := r.stream(soon(t), "any", "x").Result(); u.Outcome.Code != x.code || !strings.Contains(u.Text, x.text) {
				t.Errorf("%+v: %q", u.Outcome, u.Text)
			}
		})
	}
}
