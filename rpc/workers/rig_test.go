package workers_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
	"rpcpool.dev/rpc/workers/direct"
)

// rig is a server whose calls run in workers, and a client of it.
type rig struct {
	t      testing.TB
	core   *server.Core
	pool   *workers.Pool
	client *client.Client
	door   *conn.Server
	path   string // of the server's socket
	runs   string // file of what has run
}

// setting is what a rig differs by.
type setting struct {
	workers workers.Options
	server  server.Options
	command direct.Command
	starter workers.Starter // else this binary is started
	methods []server.Method // else all are let through
	conn    conn.Options    // of clients' connections
	local   bool            // no workers: calls run in this process
}

func newRig(t testing.TB, s setting) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, path: filepath.Join(dir, "s"), runs: filepath.Join(dir, "runs")}
	var exec server.Executor
	var start, stop func()
	if s.local {
		local := &server.Local{}
		exec, start, stop = local, func() {}, func() { _ = local.Close() }
		s.methods = program()
	} else {
		exec, start, stop = r.workers(s)
		s.server.Limit, s.server.Open = -1, true
	}
	if s.server.Standing == 0 {
		s.server.Standing = -1 // a busy machine is no overload here
	}
	s.server.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	var err error
	if r.core, err = server.New(exec, s.server); err != nil {
		t.Fatal(err)
	}
	for _, m := range s.methods {
		if err := r.core.Register(m); err != nil {
			t.Fatal(err)
		}
	}
	start()
	ns, err := conn.NewServer(conn.ServerOptions{Conn: s.conn, Handler: server.NewDoor(r.core), Admit: func(h *frame.Hello) frame.HelloAck {
		return frame.Answer(h, frame.HelloAck{Codecs: 7, Features: frame.FeatureStreams})
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.door = ns
	l, err := net.Listen("unix", r.path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- ns.Serve(l) }()
	t.Cleanup(func() {
		_ = ns.Close()
		<-served
		stop()
		_ = r.core.Close()
	})
	r.client = r.another(client.Options{})
	return r
}

func (r *rig) workers(s setting) (exec server.Executor, start, stop func()) {
	r.t.Helper()
	s.workers.Starter = s.starter
	var starter *direct.Starter
	if s.starter == nil {
		starter = r.starter(s.command)
		s.workers.Starter = starter
	}
	var err error
	if r.pool, err = workers.New(s.workers); err != nil {
		r.t.Fatal(err)
	}
	return r.pool, func() { r.pool.Start(r.core) }, func() {
		_ = r.pool.Close()
		if starter == nil {
			return
		}
		if err := starter.Close(); err != nil {
			r.t.Error(err)
		}
	}
}

func (r *rig) starter(c direct.Command) *direct.Starter {
	r.t.Helper()
	c.Path, c.Env = os.Args[0], append(c.Env, "RUNS="+r.runs)
	s, err := direct.New(c)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}
func (r *rig) another(opts client.Options) *client.Client {
	r.t.Helper()
	if opts.Grace == 0 {
		opts.Grace = 10 * time.Second
	}
	c, err := client.New(opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if err := c.Update([]conn.Endpoint{{ID: "a", Unix: r.path}}); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) call(method, args string, how ...func(*client.Call)) client.Call {
	r.t.Helper()
	u := client.Call{Method: method, Args: []byte(args)}
	for _, f := range how {
		f(&u)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	r.client.Do(ctx, &u)
	return u
}

func idempotent(u *client.Call) { u.Idempotent = true }

// works fails unless a call is answered.
func (r *rig) works() {
	r.t.Helper()
	if u := r.call("echo", "hello"); u.Outcome.Code != session.OK || string(u.Reply) != "hello" {
		r.t.Fatalf("%+v, %q: %s", u.Outcome, u.Reply, u.Text)
	}
}

// ran returns what has run, one line for each run.
func (r *rig) ran() []string {
	r.t.Helper()
	b, err := os.ReadFile(r.runs)
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

// report is what the caller was told of its worker's end.
func report(t testing.TB, u *client.Call) crash.Report {
	t.Helper()
	if u.Outcome.Code != session.Crashed || u.Outcome.Execution != session.Indeterminate {
		t.Fatalf("%+v: %s", u.Outcome, u.Text)
	}
	rep, err := crash.Parse(u.Detail)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// eventually waits for what no event tells.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
