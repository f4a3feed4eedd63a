//go:build linux

package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

func TestRow077_NormalEnd(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	_, old := tr.ticket()
	r := dialRaw(t, s.addr)
	r.session("client:" + old)
	cwd, err := r.call("test.cwd")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(string(cwd.Data)); err != nil {
		t.Fatalf("work directory: %v", err)
	}
	s.waitState("busy")
	began := time.Now()
	r.bye()
	_, fresh := tr.ticket() // waits in the queue until the device is back
	back := time.Since(began)
	t.Logf("offered again, and granted, %v after the client left", back)
	if back > 100*time.Millisecond+slack {
		t.Errorf("offered again after %v, want 100ms", back)
	}
	if fresh == old {
		t.Error("the ticket is the same as before")
	}
	e := s.log.nextEnd(t)
	if e.cause != "completed" || e.how != "exit status 0" {
		t.Errorf("ended with %s: %s", e.cause, e.how)
	}
	if _, err := os.Stat(string(cwd.Data)); !os.IsNotExist(err) {
		t.Errorf("work directory %s: %v, want it gone", cwd.Data, err)
	}
}

// crash calls a function that ends the worker and returns what the client is
// told.
func crash(t *testing.T, s *client.Session, name string, args ...any) error {
	t.Helper()
	v, err := tryCall(s, name, args...)
	if err == nil {
		t.Fatalf("%s returned %v", name, v)
	}
	return err
}

func TestRow078_WorkerCrash(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	for _, c := range []struct {
		function string
		args     []any
		cause    string
		how      string
	}{
		{"test.segfault", nil, "crash-signal", "SIGSEGV"},
		{"test.abort", nil, "crash-signal", "SIGABRT"},
		{"test.exit", []any{1}, "crash-exit", "exit status 1"},
	} {
		session := tr.open(client.Options{})
		err := crash(t, session, c.function, c.args...)
		var remote *client.RemoteError
		if !errors.As(err, &remote) || !strings.HasPrefix(remote.Text, c.cause+": ") || !strings.Contains(remote.Text, c.how) {
			t.Errorf("%s: client got %v, want an exception with %s and %s", c.function, err, c.cause, c.how)
		}
		if e := s.log.nextEnd(t); e.cause != c.cause || !strings.Contains(e.how, c.how) {
			t.Errorf("%s: recorded %s: %s; want %s: %s", c.function, e.cause, e.how, c.cause, c.how)
		}
		began := time.Now()
		tr.works()
		t.Logf("%s: next session served within %v", c.function, time.Since(began))
		s.log.nextEnd(t)
	}
}

func TestRow078_OutOfMemory(t *testing.T) {
	t.Parallel()
	group := memoryGroup(t, 400<<20)
	tr := startTracker(t)
	s := startServerIn(t, tr, group).ready()
	session := tr.open(client.Options{})
	err := crash(t, session, "test.hog", 2<<30)
	var remote *client.RemoteError
	if !errors.As(err, &remote) || !strings.HasPrefix(remote.Text, "oom: ") {
		t.Errorf("client got %v, want an exception that says oom", err)
	}
	if e := s.log.nextEnd(t); e.cause != "oom" {
		t.Errorf("recorded %s: %s", e.cause, e.how)
	}
	tr.works()
}

func TestRow079_SessionTimeout(t *testing.T) {
	t.Parallel()
	t.Run("during a call", func(t *testing.T) {
		t.Parallel()
		tr := startTracker(t)
		s := startServer(t, tr).ready()
		session := tr.open(client.Options{Timeout: limit})
		pids := parsePIDs(t, fmt.Sprint(call(t, session, "test.grandchildren", 2)))
		pids = append(pids, pidOf(t, session))
		_, err := tryCall(session, "test.sleep", 30.0)
		checkTimedOut(t, s, session, err, pids)
	})
	t.Run("between calls", func(t *testing.T) {
		t.Parallel()
		tr := startTracker(t)
		s := startServer(t, tr).ready()
		session := tr.open(client.Options{Timeout: limit})
		pids := []int{pidOf(t, session)}
		s.waitState("free") // the session is over, and its client does not know
		_, err := tryCall(session, "test.addone", 1)
		checkTimedOut(t, s, session, err, pids)
	})
}

func checkTimedOut(t *testing.T, s *server, session *client.Session, err error, pids []int) {
	t.Helper()
	if !errors.Is(err, client.ErrSessionTimeout) {
		t.Errorf("client got %v, want RPCSessionTimeoutError", err)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d lives after its session's timeout", pid)
		}
	}
	e := s.log.nextEnd(t)
	t.Logf("timeout of %v: session lasted %v, worker ended with %s", limit, e.duration, e.how)
	if e.cause != "timeout" || e.duration < limit || e.duration > limit+500*time.Millisecond+slack {
		t.Errorf("recorded %s after %v", e.cause, e.duration)
	}
	if _, err := tryCall(session, "test.addone", 1); !errors.Is(err, client.ErrSessionLost) {
		t.Errorf("the call after gives %v, want a lost session", err)
	}
	s.tracker.works()
}

func TestRow080_ExceptionFlavour(t *testing.T) {
	t.Parallel()
	for flavour, code := range map[string]byte{"A": 11, "C": 8} {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			tr := startTracker(t)
			startServer(t, tr, command("-flavour", flavour)).ready() // server's flavour: Auto
			addr, ticket := tr.ticket()
			r := dialRaw(t, addr)
			r.send(hello("client:" + ticket + " -timeout=3"))
			if a, err := r.answer(); err != nil || a.Code != tvm.HandshakeSuccess {
				t.Fatalf("answer %#x", a.Code)
			}
			r.send(initPacket)
			r.take(20)
			head := r.take(28)
			size := head[0]
			want := []byte{size, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, code, 0, 0, 0, size - 20, 0, 0, 0, 0, 0, 0, 0}
			if !bytes.Equal(head, want) {
				t.Errorf("exception % x, want % x", head, want)
			}
			if text := r.rest(); len(text) != int(size)-20 || !bytes.HasPrefix(text, []byte(tvm.SessionTimeoutPrefix)) {
				t.Errorf("text %q", text)
			}
		})
	}
}

// killsTheTree has a worker with three grandchildren in sessions of their own,
// all deaf to SIGTERM, run into its timeout; it returns how long after the
// grace the last of them was gone.
func killsTheTree(t *testing.T, adjust ...func(*sidecar.Options)) (late time.Duration) {
	t.Helper()
	const grace = 500 * time.Millisecond
	tr := startTracker(t)
	s := startServer(t, tr, append(adjust, func(o *sidecar.Options) { o.KillGrace = grace })...).ready()
	session := tr.open(client.Options{Timeout: limit})
	pids := append(parsePIDs(t, fmt.Sprint(call(t, session, "test.grandchildren", 3))), pidOf(t, session))
	if len(pids) != 4 {
		t.Fatalf("pids %v", pids)
	}
	for _, pid := range pids {
		if !alive(pid) {
			t.Errorf("process %d is dead before the timeout", pid)
		}
	}
	_, err := tryCall(session, "test.ignore_sigterm")
	if !errors.Is(err, client.ErrSessionTimeout) {
		t.Errorf("client got %v", err)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d is alive when the client is told", pid)
		}
	}
	e := s.log.nextEnd(t)
	if e.cause != "timeout" || !strings.Contains(e.how, "SIGKILL") {
		t.Errorf("recorded %s: %s", e.cause, e.how)
	}
	tr.works()
	return e.duration - limit - grace
}

func TestRow081_StubbornTree(t *testing.T) {
	t.Parallel()
	for name, adjust := range map[string]func(*sidecar.Options){"warm": func(*sidecar.Options) {}, "cold": cold} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			late := killsTheTree(t, adjust)
			t.Logf("tree gone %v after timeout and grace", late)
			if late < -10*time.Millisecond || late > 200*time.Millisecond+slack {
				t.Errorf("tree gone %v after timeout and grace, want within 200ms", late)
			}
		})
	}
}
