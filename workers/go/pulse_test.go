package worker_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	worker "rpcpool.dev/workers/go"
)

// listener is what a supervisor hears of a worker.
type listener struct{ *net.UnixConn }

// listen returns a listener and the environment that has a worker talk to it.
func listen(t *testing.T, wants ...string) (*listener, []string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &listener{c}, append(wants, "NOTIFY_SOCKET="+name)
}

// next returns the next message, "" if none comes in time.
func (l *listener) next(t *testing.T, within time.Duration) string {
	t.Helper()
	if err := l.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1000)
	n, err := l.Read(buf)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// until returns all messages up to the one that begins with last.
func (l *listener) until(t *testing.T, last string) (all []string) {
	t.Helper()
	for {
		message := l.next(t, patience)
		if message == "" {
			t.Fatalf("after %q no %q came", all, last)
		}
		all = append(all, message)
		if strings.HasPrefix(message, last) {
			return all
		}
	}
}

const beat = "WATCHDOG=1"

func without(messages []string, drop string) (rest []string) {
	for _, m := range messages {
		if m != drop {
			rest = append(rest, m)
		}
	}
	return rest
}

func TestHeartbeatsWhileAWorkerWaits(t *testing.T) {
	for _, mode := range []string{"unix", "watchdog"} {
		t.Run("for a session, "+mode, func(t *testing.T) {
			l, env := listen(t, "WATCHDOG_USEC=40000")
			p, agent := waiting(t, mode, env...)
			for range 5 {
				if got := l.next(t, patience); got != beat {
					t.Fatalf("got %q, want a heartbeat", got)
				}
			}
			agent.Close()
			p.wantExit(t, worker.ExitOK)
		})
	}
	t.Run("for its client", func(t *testing.T) {
		l, env := listen(t, "WATCHDOG_USEC=40000", "WATCHDOG_PID=")
		p, s := cold(t, env...)
		for range 5 {
			if got := l.next(t, patience); got != beat {
				t.Fatalf("got %q, want a heartbeat", got)
			}
		}
		if got := call(t, s, "test.addone", 1); got != int64(2) {
			t.Errorf("test.addone: %v", got)
		}
		s.Close()
		p.wantExit(t, worker.ExitOK)
	})
}

func TestCallsAreDeclared(t *testing.T) {
	l, env := listen(t, "WATCHDOG_USEC=7200000000", "RPCPOOL_PHASES=upload,load,run", "RPCPOOL_TIMEOUT_S=100.5")
	p, s := cold(t, env...)
	declared := func(what string, want ...string) {
		t.Helper()
		got := l.until(t, "X_RPCPOOL_PHASE=")
		got = append(got, l.until(t, "X_RPCPOOL_PHASE=")...)
		if l.next(t, patience) != beat {
			t.Errorf("%s: no heartbeat after the packet", what)
		}
		got = without(got, beat)
		if rest, ok := strings.CutPrefix(got[0], "EXTEND_TIMEOUT_USEC="); ok {
			if usec, err := strconv.Atoi(rest); err != nil || usec <= 0 || usec > 100_500_000 {
				t.Errorf("%s: %q, want the rest of 100.5 s", what, got[0])
			}
			got[0] = "EXTEND"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	call(t, s, "test.addone", 1)
	declared("a call", "EXTEND", "X_RPCPOOL_PHASE=run", "X_RPCPOOL_PHASE=")
	if err := s.Upload(t.Context(), "lib.so", []byte("x")); err != nil {
		t.Fatal(err)
	}
	declared("an upload", "EXTEND", "X_RPCPOOL_PHASE=upload", "X_RPCPOOL_PHASE=")
	call(t, s, "tvm.rpc.server.load_module", "lib.so")
	declared("a module", "EXTEND", "X_RPCPOOL_PHASE=load", "X_RPCPOOL_PHASE=")
	a, err := s.NewArray(t.Context(), bytes8, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.CopyFrom(t.Context(), []byte("abc")); err != nil {
		t.Fatal(err)
	}
	declared("a copy", "X_RPCPOOL_PHASE=upload", "X_RPCPOOL_PHASE=")
	if _, err := s.Call(t.Context(), "test.addone", "no number"); err == nil {
		t.Error("test.addone took a string")
	}
	declared("a call that fails", "EXTEND", "X_RPCPOOL_PHASE=run", "X_RPCPOOL_PHASE=")
	s.Close()
	p.wantExit(t, worker.ExitOK)
}

func TestNoHeartbeatInsideAFunctionUnlessItSendsOne(t *testing.T) {
	l, env := listen(t, "WATCHDOG_USEC=40000")
	p, s := cold(t, env...)
	call(t, s, "test.sleep", 0.3)
	messages := append(l.until(t, "EXTEND_TIMEOUT_USEC"), l.next(t, patience))
	if last := messages[len(messages)-2:]; last[0] != "EXTEND_TIMEOUT_USEC=0" || last[1] != beat {
		t.Errorf("around a call that sleeps for seven periods, without a deadline: %q", last)
	}
	call(t, s, "test.extend", 1500)
	l.until(t, "EXTEND_TIMEOUT_USEC=0")
	if got := l.next(t, patience); got != "EXTEND_TIMEOUT_USEC=1500000" {
		t.Errorf("a function that extends its time: %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = s.Call(ctx, "test.silent") }()
	l.until(t, "EXTEND_TIMEOUT_USEC=0")
	if got := l.next(t, patience); got != beat {
		t.Errorf("test.silent began with %q, want a heartbeat", got)
	}
	if got := l.next(t, 200*time.Millisecond); got != "" {
		t.Errorf("test.silent went on with %q", got)
	}
	_ = p.cmd.Process.Kill()
}

// TestNothingIsSentThatIsNotWanted: a socket alone wants nothing.
func TestNothingIsSentThatIsNotWanted(t *testing.T) {
	for name, wants := range map[string]string{
		"nothing": "IRRELEVANT=", "another process's heartbeats": "WATCHDOG_PID=1", "another phase": "RPCPOOL_PHASES=load",
	} {
		t.Run(name, func(t *testing.T) {
			env := []string{wants}
			if name == "another process's heartbeats" {
				env = append(env, "WATCHDOG_USEC=40000")
			}
			l, env := listen(t, env...)
			p, s := cold(t, env...)
			call(t, s, "test.addone", 1)
			call(t, s, "test.extend", 1)
			if err := s.Upload(t.Context(), "f", nil); err != nil {
				t.Error(err)
			}
			s.Close()
			p.wantExit(t, worker.ExitOK)
			end, err := net.Dial("unixgram", l.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer end.Close()
			if _, err := end.Write([]byte("end")); err != nil {
				t.Fatal(err)
			}
			if got := l.next(t, patience); got != "end" {
				t.Errorf("the worker said %q", got)
			}
		})
	}
}
