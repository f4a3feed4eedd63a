package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
	"rpcpool.dev/workers/go/client"
)

// series is a worker in Watchdog isolation, and what an agent has of it.
type series struct {
	*process
	agent *net.UnixConn
}

func longLived(t *testing.T, env ...string) *series {
	t.Helper()
	p, agent := waiting(t, "watchdog", env...)
	return &series{p, agent}
}

// serve hands one session over, with a directory of its own.
func (w *series) serve(t *testing.T, id string, timeout time.Duration) (*client.Session, string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	about, err := json.Marshal(map[string]any{
		"id": id, "key": "k", "client": "c-" + id, "timeout_s": timeout.Seconds(), "workdir": dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	f, session := dialing(t)
	handOver(t, w.agent, f, "S"+string(about))
	return session(), dir
}

// wantSays expects the worker's next word on its socket.
func (w *series) wantSays(t *testing.T, want string) {
	t.Helper()
	_ = w.agent.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 10)
	if n, err := w.agent.Read(buf); err != nil || string(buf[:n]) != want {
		t.Fatalf("worker said %q, %v; want %q", buf[:n], err, want)
	}
}

// ends closes the worker's socket: it has no more sessions to come.
func (w *series) ends(t *testing.T) {
	t.Helper()
	w.agent.Close()
	w.wantExit(t, worker.ExitOK)
}

func TestSessionsInARowShareAProcessAndNothingElse(t *testing.T) {
	w := longLived(t)
	for _, id := range []string{"s1", "s2", "s3"} {
		s, dir := w.serve(t, id, time.Hour)
		for _, c := range []struct {
			name, arg string
			want      any
		}{
			{"test.env", "RPCPOOL_SESSION_ID", id},
			{"test.env", "RPCPOOL_KEY", "k"},
			{"test.env", "RPCPOOL_CLIENT", "c-" + id},
			{"test.env", "RPCPOOL_WORKDIR", dir},
			{"test.env", "TMPDIR", dir},
			{"tvm.rpc.server.workpath", "", dir},
			{"tvm.rpc.server.listdir", "", ""}, // what the one before left is not here
		} {
			if got := call(t, s, c.name, c.arg); got != c.want {
				t.Errorf("session %s: %s(%s) = %v, want %v", id, c.name, c.arg, got, c.want)
			}
		}
		if got := call(t, s, "test.cwd"); got != dir {
			t.Errorf("session %s is in %v, want %s", id, got, dir)
		}
		if got := call(t, s, "test.pid"); got != int64(w.cmd.Process.Pid) {
			t.Errorf("session %s is served by process %v", id, got)
		}
		if got := call(t, s, "test.fds"); got != "0,1,2,3,4" && got != "0,1,2,3,5" && got != "0,1,2,3,6" {
			t.Errorf("session %s: the worker has descriptors %v, want the standard ones, its agent and its session", id, got)
		}
		if err := s.Upload(t.Context(), "left", []byte(id)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "left")); err != nil {
			t.Error(err)
		}
		s.Close()
		w.wantSays(t, "R")
		if cwd, err := os.Readlink("/proc/" + strconv.Itoa(w.cmd.Process.Pid) + "/cwd"); err != nil || cwd == dir {
			t.Errorf("a worker that waits is in %s, %v", cwd, err)
		}
	}
	w.ends(t)
}

// TestHandlesEndWithTheirSession: what one client holds, the next cannot reach.
func TestHandlesEndWithTheirSession(t *testing.T) {
	w := longLived(t)
	s, _ := w.serve(t, "s1", 0)
	if _, err := s.NewArray(t.Context(), bytes8, 64<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Func(t.Context(), "test.echo"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	w.wantSays(t, "R")
	s, _ = w.serve(t, "s2", 0)
	conn := s.NetConn()
	for handle := uint64(128); handle <= 3*128; handle += 128 {
		request, err := tvm.AppendPacket(nil, tvm.FlavourC, tvm.CallFunc{Handle: handle})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		reply, err := tvm.DecodePacket(tvm.FlavourC, receive(t, conn))
		if e, ok := reply.(tvm.Exception); err != nil || !ok || !strings.Contains(e.Text, "no function has the handle") {
			t.Errorf("handle %#x of the session before: %v, %v", handle, reply, err)
		}
	}
	s.Close()
	w.wantSays(t, "R")
	w.ends(t)
}

func TestWhatTheWorkerSaysOfItsClients(t *testing.T) {
	w := longLived(t)
	s, _ := w.serve(t, "breaks the protocol", time.Hour)
	if _, err := s.NetConn().Write([]byte{4, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	w.wantSays(t, "PR")
	if _, err := io.Copy(io.Discard, s.NetConn()); err != nil {
		t.Errorf("the session is not closed: %v", err)
	}
	s, _ = w.serve(t, "goes away", time.Hour)
	f, err := s.Func(t.Context(), "test.sleep")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.NetConn().(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Call(ctx, 0.3); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the deadline", err)
	}
	w.wantSays(t, "R")
	w.ends(t)
}

func TestSessionThatOutlivesItsDeadlineEndsTheProcess(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for _, name := range []string{"test.spin", "test.deadlock", "test.ignore_sigterm", "test.gc_stall", "test.silent"} {
		t.Run("in "+name, func(t *testing.T) {
			t.Parallel()
			w := longLived(t)
			began := time.Now()
			s, _ := w.serve(t, "s1", timeout)
			if _, err := s.Call(t.Context(), name); !errors.Is(err, client.ErrSessionLost) {
				t.Errorf("the client got %v, want a lost session", err)
			}
			ws := w.wait(t)
			byBackstop := ws.Signaled() && ws.Signal() == unix.SIGKILL // on a machine with no CPU for it in time
			if inOrder := ws.Exited() && ws.ExitStatus() == 0; !inOrder && !byBackstop {
				t.Errorf("worker: %s, want exit status 0", w.state)
			}
			if took := time.Since(began); took < timeout {
				t.Errorf("it ended after %v, want %v", took, timeout)
			}
		})
	}
	t.Run("in a client that says nothing", func(t *testing.T) {
		t.Parallel()
		w := longLived(t)
		s, _ := w.serve(t, "s1", timeout)
		if _, err := s.NetConn().Read(make([]byte, 1)); err == nil {
			t.Error("the session goes on")
		}
		w.wait(t)
	})
}

func TestWatchdogIsDisarmedBetweenSessions(t *testing.T) {
	const timeout = 300 * time.Millisecond
	w := longLived(t)
	for _, id := range []string{"s1", "s2"} {
		s, _ := w.serve(t, id, timeout)
		s.Close()
		w.wantSays(t, "R")
		select {
		case <-w.exited:
			t.Fatalf("after %s the worker ended: %s", id, w.state)
		case <-time.After(timeout + 100*time.Millisecond):
		}
	}
	w.ends(t)
}

func TestFunctionThatKillsALongLivedWorker(t *testing.T) {
	w := longLived(t)
	s, _ := w.serve(t, "s1", time.Hour)
	if _, err := s.Call(t.Context(), "test.segfault"); !errors.Is(err, client.ErrSessionLost) {
		t.Errorf("the client got %v, want a lost session", err)
	}
	if ws := w.wait(t); !ws.Signaled() || ws.Signal() != unix.SIGSEGV {
		t.Errorf("worker: %s, want death by SIGSEGV", w.state)
	}
}

func TestHandOverThatALongLivedWorkerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		about string
		want  int
	}{
		"no directory":                  {`S{"id":"s1"}`, worker.ExitUsage},
		"a directory that is not there": {`S{"id":"s1","workdir":"/no/such/directory"}`, worker.ExitFailure},
	} {
		t.Run(name, func(t *testing.T) {
			w := longLived(t)
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			handOver(t, w.agent, f, c.about)
			w.wantExit(t, c.want)
			if w.stderr.Len() == 0 {
				t.Error("stderr does not say why")
			}
		})
	}
}
