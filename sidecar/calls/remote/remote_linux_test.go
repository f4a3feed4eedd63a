package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/worker"
	"rpcpool.dev/rpc/worker/builtin"
	"rpcpool.dev/sidecar/calls"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/sidecar/supervise/agent"
)

// The test's own binary is the workers' program, and the agent.
func TestMain(m *testing.M) {
	agent.MaybeExec()
	switch {
	case worker.Inherited():
		methods, err := builtin.Methods()
		if err == nil {
			err = worker.Serve(context.Background(), methods...)
		}
		exit(err)
	case os.Getenv("AGENT") != "":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		dir := os.Getenv("AGENT")
		exit(agent.Run(ctx, agent.Options{
			Socket: filepath.Join(dir, "a.sock"), WorkRoot: filepath.Join(dir, "work"), NoCgroup: true, Command: []string{os.Args[0]},
		}))
	}
	goleak.VerifyTestMain(m)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const patience = time.Minute

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// startAgent runs an agent in a directory. kill ends it as a crash does.
func startAgent(t *testing.T, dir string) (kill func()) {
	t.Helper()
	process, ended := runAgent(t, dir)
	return func() {
		_ = process.Kill()
		<-ended
	}
}

func runAgent(t *testing.T, dir string) (_ *os.Process, ended <-chan struct{}) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "AGENT="+dir, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(over)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-over
	})
	return cmd.Process, over
}

type rig struct {
	dir     string
	starter *Starter
	server  *calls.Server
	client  *rpc.Client
}

// newRig is a server whose workers an agent starts, which the caller runs in r.dir.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{}
	var err error
	if r.dir, err = os.MkdirTemp("", "calls"); err != nil { // t.TempDir may be too long for a socket's path
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(r.dir) })
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	if r.starter, err = New(Options{Socket: filepath.Join(r.dir, "a.sock"), Start: supervise.Start{KillGrace: time.Second}, Log: log}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.server, err = calls.New(calls.Options{
		Listeners: []net.Listener{l}, Starter: r.starter, KillGrace: 100 * time.Millisecond, DrainTimeout: patience, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Run(ctx) }()
	if r.client, err = rpc.Dial(rpc.ClientOptions{Grace: patience}, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.client.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		_ = r.starter.Close()
	})
	return r
}

func (r *rig) call(t *testing.T, method string, args any) (any, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return rpc.Call[any](ctx, r.client, method, args)
}

func (r *rig) works(t *testing.T) {
	t.Helper()
	if got, err := r.call(t, "echo", "hello"); err != nil || got != "hello" {
		t.Fatalf("%v, %v", got, err)
	}
}

// TestWorkersUnderAnAgent: they serve, and how one ended is what the agent saw.
func TestWorkersUnderAnAgent(t *testing.T) {
	r := newRig(t)
	if err := r.starter.Alive(); err == nil || !strings.HasPrefix(err.Error(), "no agent answers at ") {
		t.Errorf("before there is an agent: %v", err)
	}
	startAgent(t, r.dir)
	r.works(t)
	if err := errors.Join(r.starter.Alive(), r.server.Ready()); err != nil {
		t.Error(err)
	}
	for how, want := range map[string]string{
		"exit":  "worker ended: crash-exit, status 3",
		"kill":  "worker ended: crash-signal, signal 9",
		"panic": "worker ended: crash-exit, status 2: panic: crash was called",
	} {
		_, err := r.call(t, "crash", how)
		var e *rpc.Error
		if !errors.As(err, &e) || e.Code != rpc.Crashed || e.Execution != rpc.Indeterminate || e.Message != want {
			t.Errorf("%s: %v, want %s", how, err, want)
			continue
		}
		if report, err := crash.Parse(e.Detail); err != nil || report.PID == 0 || report.MaxRSS == 0 {
			t.Errorf("%s: report %+v, %v", how, report, err)
		}
		r.works(t)
	}
}

// TestAnAgentsDeathCrashesItsCallsAlone: the next agent has workers again.
func TestAnAgentsDeathCrashesItsCallsAlone(t *testing.T) {
	r := newRig(t)
	kill := startAgent(t, r.dir)
	r.works(t)
	sleeps := rpc.Spawn[any](t.Context(), r.client, "sleep", 3600)
	eventually(t, "it runs", func() bool { return r.server.Counts().Running == 1 })
	kill()
	if _, err := sleeps.Get(t.Context()); !errors.Is(err, rpc.Crashed) || !errors.Is(err, rpc.Indeterminate) {
		t.Errorf("got %v", err)
	}
	startAgent(t, r.dir)
	r.works(t)
}

// TestWorkersOfAnEarlierSidecarAreKilled: nobody has the other ends of their channels.
func TestWorkersOfAnEarlierSidecarAreKilled(t *testing.T) {
	dir, err := os.MkdirTemp("", "calls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	startAgent(t, dir)
	starter := func() *Starter {
		s, err := New(Options{Socket: filepath.Join(dir, "a.sock")})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := starter()
	p, err := first.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Channel().Close() // it is open yet when the worker is killed
	eventually(t, "it was started", func() bool { return p.(*process).pid.Load() != 0 })
	pid := int(p.(*process).pid.Load())
	_ = first.Close()
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the worker outlives no sidecar: %v", err)
	}
	second := starter()
	defer second.Close()
	eventually(t, "it is gone", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
}

// TestWhoeverStartedAHungAgentIsTold, so that it is killed: nothing else helps.
func TestWhoeverStartedAHungAgentIsTold(t *testing.T) {
	dir, err := os.MkdirTemp("", "calls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	process, _ := runAgent(t, dir)
	s, err := New(Options{Socket: filepath.Join(dir, "a.sock"), ask: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	eventually(t, "the agent is there", func() bool { return s.Alive() == nil })
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Hung():
	case <-time.After(patience):
		t.Error("nobody is told of an agent that is stopped")
	}
}

// hellos counts what agents are there for, as the log says.
type hellos struct{ n atomic.Int64 }

func (h *hellos) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("agent is there")) {
		h.n.Add(1)
	}
	return len(line), nil
}

// TestSidecarsThatHaveOneAgentTakeItFromEachOtherEverMoreSeldom: an agent has one link, the
// last.
func TestSidecarsThatHaveOneAgentTakeItFromEachOtherEverMoreSeldom(t *testing.T) {
	dir := t.TempDir()
	startAgent(t, dir)
	var said hellos
	began := time.Now()
	for range 2 {
		s, err := New(Options{Socket: filepath.Join(dir, "a.sock"), Log: slog.New(slog.NewTextHandler(&said, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	eventually(t, "they have had it a dozen times", func() bool { return said.n.Load() >= 12 })
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("it took them %s", took)
	}
}

func TestAnAgentThatIsToldToStopIsHeardOf(t *testing.T) {
	r := newRig(t)
	process, ended := runAgent(t, r.dir)
	r.works(t)
	select {
	case <-r.starter.Stopping():
		t.Fatal("told to stop, before it was")
	default:
	}
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]<-chan struct{}{"that it stops": r.starter.Stopping(), "the end": ended} {
		select {
		case <-c:
		case <-time.After(patience):
			t.Errorf("%s does not come", what)
		}
	}
}
