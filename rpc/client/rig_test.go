package client

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		runAsChild()
		return
	}
	goleak.VerifyTestMain(m)
}

// rig is a server, and clients of it.
type rig struct {
	t    testing.TB
	core *server.Core
	net  *conn.Server
	path string
}

func newRig(t testing.TB, opts server.Options, methods ...server.Method) *rig {
	t.Helper()
	local := &server.Local{}
	core, err := server.New(local, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range append(methods, server.Method{Name: "echo", Run: echo}, server.Method{Name: "echo!", Run: echo, Inline: true}) {
		if err := core.Register(m); err != nil {
			t.Fatal(err)
		}
	}
	ns, err := conn.NewServer(conn.ServerOptions{Handler: server.NewDoor(core), Admit: func(h *frame.Hello) frame.HelloAck {
		return frame.Answer(h, frame.HelloAck{Codecs: 7, Features: frame.FeatureStreams})
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, core: core, net: ns, path: filepath.Join(t.TempDir(), "s")}
	l, err := net.Listen("unix", r.path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- ns.Serve(l) }()
	t.Cleanup(func() {
		_ = ns.Close()
		<-served
		_ = local.Close()
		_ = core.Close()
	})
	return r
}

func (r *rig) client(opts Options) *Client {
	r.t.Helper()
	c, err := New(opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if err := c.Update([]conn.Endpoint{{ID: "a", Unix: r.path}}); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func echo(j *server.Job) (session.Code, []byte) { return session.OK, j.Args }

func failing(j *server.Job) (session.Code, []byte) {
	return session.Failed, wire.Failure(0, "no: "+string(j.Args), []byte("detail"))
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestACallIsAnswered(t *testing.T) {
	r := newRig(t, server.Options{}, server.Method{Name: "fail", Run: failing})
	c := r.client(Options{})
	for _, size := range []int{0, 1, 64, 129, 4 << 10, 9 << 10, 300 << 10, 5 << 20} {
		for _, method := range []string{"echo", "echo!"} {
			u := Call{Method: method, Args: []byte(strings.Repeat("x", size))}
			c.Do(soon(t), &u)
			if u.Outcome.Code != session.OK || u.Outcome.Execution != session.Executed || string(u.Reply) != string(u.Args) {
				t.Fatalf("%s of %d bytes: %+v, %d bytes", method, size, u.Outcome, len(u.Reply))
			}
		}
	}
	u := Call{Method: "fail", Args: []byte("x")}
	c.Do(soon(t), &u)
	if u.Outcome.Code != session.Failed || u.Outcome.Execution != session.Executed || u.Text != "no: x" || string(u.Detail) != "detail" {
		t.Errorf("%+v", u)
	}
	u = Call{Method: "none"}
	c.Do(soon(t), &u)
	if u.Outcome.Code != session.Unimplemented || u.Outcome.Execution != session.NotExecuted {
		t.Errorf("%+v", u)
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	r := newRig(t, server.Options{}, server.Method{Name: "wait", Run: func(j *server.Job) (session.Code, []byte) {
		entered <- struct{}{}
		select {
		case <-j.Done():
			return session.Failed, wire.Failure(0, "interrupted", nil)
		case <-release:
			return session.OK, nil
		}
	}}, server.Method{Name: "deaf", Run: func(*server.Job) (session.Code, []byte) {
		entered <- struct{}{}
		<-release
		return session.OK, nil
	}})
	defer close(release)
	c := r.client(Options{Grace: 5 * time.Second})
	ctx, cancel := context.WithCancel(soon(t))
	go func() { <-entered; cancel() }()
	u := Call{Method: "wait"}
	c.Do(ctx, &u)
	if u.Outcome.Code != session.Failed || u.Outcome.Execution != session.Executed {
		t.Errorf("the handler heard of it, and said so: %+v", u)
	}
	ctx, cancel = context.WithTimeout(soon(t), 50*time.Millisecond)
	defer cancel()
	d := r.client(Options{Grace: time.Millisecond})
	u = Call{Method: "deaf"}
	d.Do(ctx, &u)
	if u.Outcome.Code != session.DeadlineExceeded || u.Outcome.Execution != session.Indeterminate {
		t.Errorf("the handler did not hear: %+v", u)
	}
}
