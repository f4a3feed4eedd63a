package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parent is the other side of a worker's channel.
type parent struct {
	t       *testing.T
	conn    *conn.Conn
	answers chan session.Message
	said    chan frame.Type
	served  chan error
	stop    context.CancelFunc
}

func (p *parent) Message(_ conn.Peer, in *conn.In) {
	var m session.Message
	if in.Type == frame.TypeReply || in.Type == frame.TypeError {
		_, _ = wire.ParseResponse(in, &m)
		m.Body = append([]byte(nil), m.Body...)
		p.answers <- m
		return
	}
	p.said <- in.Type
}

func (*parent) Closed(conn.Peer, error, []uint64) {}

// join makes both sides of a channel. Methods are bound from 1 on.
func join(t *testing.T, methods ...server.Method) *parent {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	p := &parent{t: t, answers: make(chan session.Message, 10), said: make(chan frame.Type, 10), served: make(chan error, 1), stop: cancel}
	go func() {
		nc, err := l.Accept()
		if err == nil {
			err = ServeConn(ctx, nc, methods...)
		}
		p.served <- err
	}()
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if p.conn, err = conn.Connect(t.Context(), nc, frame.Hello{}, p, Options()); err != nil {
		t.Fatal(err)
	}
	for i, m := range methods {
		p.send(conn.Message{Header: frame.Header{Type: frame.TypeBind, Seq: uint64(i + 1)}, Body: []byte(m.Name)})
	}
	t.Cleanup(func() {
		cancel()
		_ = p.conn.Close()
		<-p.conn.Done()
	})
	return p
}

func (p *parent) send(m conn.Message) {
	p.t.Helper()
	if err := p.conn.TrySend(&m); err != nil {
		p.t.Fatal(err)
	}
}

func (p *parent) call(seq uint64, method uint32, left time.Duration, args string) {
	p.t.Helper()
	m := conn.Message{Header: frame.Header{Type: frame.TypeCall, Priority: frame.PriorityNormal, Seq: seq}, Body: []byte(args)}
	m.Ext.Method = method
	if left > 0 {
		m.Deadline = frame.DeadlineOf(left)
	}
	xid := make([]byte, frame.XIDLen)
	xid[0] = 7
	binary.LittleEndian.PutUint64(xid[16:], 1000+seq)
	m.Ext.XID = xid
	p.send(m)
}

func (p *parent) cancel(seq uint64) {
	p.send(conn.Message{Header: frame.Header{Type: frame.TypeCancel, Seq: seq}})
}

// wants fails unless the next answer is that.
func (p *parent) wants(seq uint64, code session.Code, ran session.Execution, text string) {
	p.t.Helper()
	m := <-p.answers
	got := string(m.Body)
	if m.Code != session.OK {
		_, got, _ = wire.ParseFailure(m.Body)
	}
	if m.Seq != seq || m.Code != code || m.Execution != ran || got != text {
		p.t.Errorf("answer to %d: %v, %v, %q; want %d: %v, %v, %q", m.Seq, m.Code, m.Execution, got, seq, code, ran, text)
	}
}

func TestAWorkerAnswers(t *testing.T) {
	wait := func(j *server.Job) (session.Code, []byte) {
		<-j.Done()
		return session.Failed, wire.Failure(0, j.Err().Error(), nil)
	}
	p := join(t,
		server.Method{Name: "echo", Run: func(j *server.Job) (session.Code, []byte) { return session.OK, j.Args }},
		server.Method{Name: "wait", Run: wait},
		server.Method{Name: "panic", Run: func(*server.Job) (session.Code, []byte) { panic("oh no") }},
		server.Method{Name: "xid", Run: func(j *server.Job) (session.Code, []byte) {
			return session.OK, []byte{j.XID().Session[0], byte(j.XID().Seq - 1000)}
		}},
		server.Method{Name: "invalid", Run: func(*server.Job) (session.Code, []byte) { return session.Invalid, wire.Failure(0, "not so", nil) }},
	)
	p.call(1, 1, 0, "hello")
	p.wants(1, session.OK, session.Executed, "hello")
	p.call(2, 2, 20*time.Millisecond, "")
	p.wants(2, session.Failed, session.Executed, "context deadline exceeded")
	p.call(3, 2, 0, "")
	p.cancel(3)
	p.wants(3, session.Failed, session.Executed, "context canceled")
	p.cancel(4)
	p.call(4, 1, 0, "too late")
	p.wants(4, session.Canceled, session.NotExecuted, "cancelled before it came")
	p.call(5, 3, 0, "")
	p.wants(5, session.Failed, session.Executed, "handler panicked: oh no")
	p.call(6, 9, 0, "")
	p.wants(6, session.Unimplemented, session.NotExecuted, "the worker has no such method")
	p.call(7, 4, 0, "")
	p.wants(7, session.OK, session.Executed, "\x07\x07")
	p.call(8, 5, 0, "")
	p.wants(8, session.Invalid, session.NotExecuted, "not so")
	_ = p.conn.Close()
	if err := <-p.served; err != nil {
		t.Errorf("the end of the channel is no error: %v", err)
	}
}

// TestCancelsOvertakeAllTheirCalls, of which there may be as many as run in a worker at once, and that many others end
// meanwhile: none of them runs.
func TestCancelsOvertakeAllTheirCalls(t *testing.T) {
	p := join(t, server.Method{Name: "echo", Run: func(j *server.Job) (session.Code, []byte) { return session.OK, j.Args }})
	const most = 1024 // see --concurrency
	for seq := uint64(1); seq <= most; seq++ {
		p.call(seq, 1, 0, "ends")
		p.wants(seq, session.OK, session.Executed, "ends")
		p.cancel(seq) // it crosses the answer
	}
	for seq := uint64(most + 1); seq <= 2*most; seq++ {
		p.cancel(seq)
	}
	for seq := uint64(most + 1); seq <= 2*most; seq++ {
		p.call(seq, 1, 0, "is not wanted")
		p.wants(seq, session.Canceled, session.NotExecuted, "cancelled before it came")
	}
	p.call(2*most+1, 1, 0, "is wanted")
	p.wants(2*most+1, session.OK, session.Executed, "is wanted")
}

func TestACallThatWaitsForOthersSaysSo(t *testing.T) {
	p := join(t, server.Method{Name: "aside", Run: func(j *server.Job) (session.Code, []byte) {
		j.Aside(func() {})
		return session.OK, nil
	}})
	p.call(1, 1, 0, "")
	p.wants(1, session.OK, session.Executed, "")
	for _, want := range []frame.Type{frame.TypeInProgress, frame.TypeStarted} {
		if got := <-p.said; got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	p.stop()
	if err := <-p.served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestHandlersHearOfTheEndOfTheChannel(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	p := join(t, server.Method{Name: "wait", Run: func(j *server.Job) (session.Code, []byte) {
		close(entered)
		<-j.Done()
		close(left)
		return session.OK, nil
	}})
	p.call(1, 1, 0, "")
	<-entered
	_ = p.conn.Close()
	<-left
	if err := <-p.served; err != nil {
		t.Error(err)
	}
}

func TestWithoutAParentThereIsNoWorker(t *testing.T) {
	t.Setenv(Variable, "")
	if err := Serve(t.Context()); !errors.Is(err, ErrNoChannel) {
		t.Error(err)
	}
	a, b := net.Pipe()
	defer b.Close()
	if err := ServeConn(t.Context(), a, server.Method{Name: ""}); err == nil {
		t.Error("a method without a name was taken")
	}
}
