//go:build linux

package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/workers/go/client"
)

// A bad program, what the client is told of it, and what is recorded.
type badProgram struct {
	function string
	args     []any
	causes   []string // one of them
	how      string   // part of the record
	long     string   // the same, of a long-lived worker, if it differs
	exits    bool     // ends the worker or hangs, so the client is told
}

// A long-lived worker's own watchdog ends it at the deadline, with status 0; one
// that cannot run any more is killed.
var badPrograms = []badProgram{
	{"test.segfault", nil, []string{"crash-signal"}, "SIGSEGV", "", true},
	{"test.illegal", nil, []string{"crash-signal"}, "SIGILL", "", true},
	{"test.abort", nil, []string{"crash-signal"}, "SIGABRT", "", true},
	{"test.exit0", nil, []string{"completed"}, "exit status 0", "", true},
	{"test.exit", []any{7}, []string{"crash-exit"}, "exit status 7", "", true},
	{"test.exit_thread", []any{5}, []string{"crash-exit"}, "exit status 5", "", true},
	{"test.panic", nil, []string{"crash-exit"}, "exit status 2: panic: test.panic was called", "", true},
	{"test.stackoverflow", nil, []string{"crash-exit"}, "exit status 2: fatal error: stack overflow", "", true},
	{"test.closefds", nil, []string{"crash-exit"}, "exit status", "", true}, // 1, or 2 if the runtime notices first
	{"test.garbage", nil, []string{"completed", "client-gone"}, "", "", true},
	{"test.spin", nil, []string{"timeout"}, "SIGTERM", "exit status 0", true},
	{"test.ignore_sigterm", nil, []string{"timeout"}, "SIGKILL", "exit status 0", true},
	{"test.sigstop", nil, []string{"timeout"}, "killed by signal", "", true},
	{"test.deadlock", nil, []string{"crash-exit", "timeout"}, "", "", true}, // as the runtime notices it, or does not
	{"test.forkbomb", []any{15}, []string{"completed"}, "", "", false},
	{"test.grandchildren", []any{3}, []string{"completed"}, "", "", false},
	{"test.leakfd", []any{1000}, []string{"completed"}, "exit status 0", "", false},
}

// Every way to run a session, and its options.
var isolations = []struct {
	name   string
	adjust func(*sidecar.Options)
	long   bool
}{
	{"warm", func(*sidecar.Options) {}, false},
	{"cold", cold, false},
	{"watchdog", func(o *sidecar.Options) { o.Isolation = sidecar.IsolationWatchdog }, true},
}

// The worker's end is told to the client in the words of its cause; an end
// without an exception (exit 0, garbage) is a lost session.
func (b badProgram) checkTold(t *testing.T, e end, err error) {
	t.Helper()
	var remote *client.RemoteError
	switch {
	case e.cause == "timeout":
		if !errors.Is(err, client.ErrSessionTimeout) {
			t.Errorf("client got %v, want a session timeout", err)
		}
	case b.function == "test.garbage", e.cause == "completed":
		if !errors.Is(err, client.ErrSessionLost) && !errors.Is(err, client.ErrProtocol) {
			t.Errorf("client got %v, want a lost session", err)
		}
	case !errors.As(err, &remote) || !strings.HasPrefix(remote.Text, e.cause+": "):
		t.Errorf("client got %v, want an exception that says %s", err, e.cause)
	}
}

func TestS0_09_BadPrograms(t *testing.T) {
	t.Parallel()
	for _, isolation := range isolations {
		t.Run(isolation.name, func(t *testing.T) {
			t.Parallel()
			tr := startTracker(t)
			s := startServer(t, tr, isolation.adjust).ready()
			agent := s.agentPID()
			for _, b := range badPrograms {
				if isolation.long && b.long != "" {
					b.how = b.long
				}
				t.Run(strings.TrimPrefix(b.function, "test."), func(t *testing.T) {
					b.run(t, tr, s)
					if s.agentPID() != agent {
						t.Error("the agent is not the one from before")
					}
				})
			}
		})
	}
}

// run has a session run the program, and then a good one.
func (b badProgram) run(t *testing.T, tr *trackerProc, s *server) {
	most := time.Minute
	if slices.Contains(b.causes, "timeout") {
		most = 2 * time.Second
	}
	session := tr.open(client.Options{Timeout: most})
	v, err := tryCall(session, b.function, b.args...)
	if b.exits && err == nil { // it answered before it stopped
		v, err = tryCall(session, "test.addone", 1)
	}
	if b.exits && err == nil {
		t.Errorf("the session goes on: %v", v)
	} else if !b.exits && err != nil {
		t.Errorf("the call failed: %v", err)
	}
	closeOf(t, session)
	e := s.log.nextEnd(t)
	t.Logf("%s: %s after %v; client: %v", e.cause, e.how, e.duration, err)
	// A watchdogged worker ends itself at the deadline; on a busy machine the kernel's
	// timer behind it may be first (S0.18 has the one that is).
	kernel := e.cause == "timeout" && strings.Contains(e.how, "SIGKILL")
	if !slices.Contains(b.causes, e.cause) || !strings.Contains(e.how, b.how) && !kernel {
		t.Errorf("recorded %s: %s; want %q: %s", e.cause, e.how, b.causes, b.how)
	}
	if b.exits {
		b.checkTold(t, e, err)
	} else if text, ok := v.(string); ok {
		for _, pid := range parsePIDs(t, text) {
			if alive(pid) {
				t.Errorf("process %d outlives its session", pid)
			}
		}
	}
	next := tr.open(client.Options{})
	checkAddOne(t, next)
	closeOf(t, next)
	if e := s.log.nextEnd(t); e.cause != "completed" {
		t.Errorf("the next session: %s: %s", e.cause, e.how)
	}
}

// A double free in C, as glibc answers it.
func TestS0_09_DoubleFree(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Fatal("python3 is needed, for a program that uses libc")
	}
	script := filepath.Join(tempDir(t), "worker")
	write(t, script, fmt.Sprintf(`#!/bin/sh
[ "$RPCPOOL_CLIENT" = probe ] && exec %s
exec python3 -c '
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
p = libc.malloc(100)
libc.free(p)
libc.free(p)'
`, workerPath))
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	tr := startTracker(t)
	s := startServer(t, tr, cold, func(o *sidecar.Options) { o.Command = []string{script} }).ready()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := client.Request(ctx, tr.addr, key, client.Options{})
	if err == nil || !strings.Contains(err.Error(), "SIGABRT") || !strings.Contains(err.Error(), "double free") {
		t.Errorf("client got %v, want SIGABRT and glibc's words", err)
	}
	if e := s.log.nextEnd(t); e.cause != "crash-signal" {
		t.Errorf("recorded %s: %s", e.cause, e.how)
	}
}

// A session that takes more memory than it may is killed by the kernel, and
// alone: its neighbours and the agent do not notice.
func TestS0_09_OutOfItsOwnMemory(t *testing.T) {
	t.Parallel()
	_ = memoryGroup(t, 1<<30) // tells whether there are memory groups
	for _, isolation := range isolations {
		t.Run(isolation.name, func(t *testing.T) {
			t.Parallel()
			tr := startTracker(t)
			s := startServer(t, tr, isolation.adjust, func(o *sidecar.Options) { o.Limits.Memory = 256 << 20 }).ready()
			agent := s.agentPID()
			session := tr.open(client.Options{})
			err := crash(t, session, "test.hog", 1<<30)
			var remote *client.RemoteError
			if !errors.As(err, &remote) || !strings.HasPrefix(remote.Text, "oom: ") {
				t.Errorf("client got %v, want an exception that says oom", err)
			}
			if e := s.log.nextEnd(t); e.cause != "oom" || e.limit != "memory" {
				t.Errorf("recorded %s, limit %q: %s", e.cause, e.limit, e.how)
			}
			if s.agentPID() != agent {
				t.Error("the agent is not the one from before")
			}
			tr.works()
		})
	}
}

// What is known of a crash is recorded, counted and told, and a thousand of
// them change nothing.
func TestS0_15_CrashesInARow(t *testing.T) {
	t.Parallel()
	crashes := scaled(40, 1000)
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	began := time.Now()
	for i := range crashes {
		session := tr.open(client.Options{})
		err := crash(t, session, "test.exit", 3)
		var told *client.RemoteError
		if want := "crash-exit: exit status 3"; !errors.As(err, &told) || told.Text != want {
			t.Fatalf("crash %d: client got %v, want %q", i, err, want)
		}
		closeOf(t, session)
		e := s.log.nextEnd(t)
		if e.cause != "crash-exit" || e.how != "exit status 3" || e.maxRSS < 1<<20 {
			t.Fatalf("crash %d: recorded %s: %s, %d bytes resident", i, e.cause, e.how, e.maxRSS)
		}
	}
	t.Logf("%d crashes in a row, %v each", crashes, time.Since(began)/time.Duration(crashes))
	if n := s.metric("rpcpool_session_ends_total", "crash-exit"); n != float64(crashes) {
		t.Errorf("%v crashes are counted, there were %d", n, crashes)
	}
	tr.works()
	s.log.nextEnd(t)
	if dirs := s.workDirs(); len(dirs) > 1 { // the spare's
		t.Errorf("work directories: %q", dirs)
	}
	if processes := descendants(s.agentPID()); len(processes) > 1 {
		t.Errorf("processes below the agent: %v, want the spare", processes)
	}
}

func TestS0_15_CoreDumpIsTold(t *testing.T) {
	t.Parallel()
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil || strings.TrimSpace(string(pattern)) != "core" {
		t.Skipf("this machine puts core dumps elsewhere than in the working directory: %s%v", pattern, err)
	}
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	session := tr.open(client.Options{})
	call(t, session, "test.allow_core")
	_ = crash(t, session, "test.segfault")
	if e, want := s.log.nextEnd(t), "killed by signal 11 (SIGSEGV), core dumped"; e.how != want {
		t.Errorf("recorded %q, want %q", e.how, want)
	}
	tr.works()
	s.stop() // and the dump is gone with the work directory
}

func TestS0_11_NothingIsShared(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	pids, dirs := map[int]bool{}, map[string]bool{}
	for i := range 5 {
		session := tr.open(client.Options{})
		if got := call(t, session, "test.env", "LEFT_BY_A_SESSION"); got != "" {
			t.Errorf("session %d sees the environment of the one before: %v", i, got)
		}
		if files, err := session.ListDir(t.Context()); err != nil || len(files) > 0 {
			t.Errorf("session %d begins with files %q, %v", i, files, err)
		}
		call(t, session, "test.setenv", "LEFT_BY_A_SESSION", "yes")
		call(t, session, "test.write", "file", "text")
		if got := call(t, session, "test.env", "LEFT_BY_A_SESSION"); got != "yes" {
			t.Errorf("session %d does not see its own environment: %v", i, got)
		}
		pids[pidOf(t, session)] = true
		dirs[fmt.Sprint(call(t, session, "test.cwd"))] = true
		if got, want := call(t, session, "test.env", "RPCPOOL_CLIENT"), session.NetConn().LocalAddr().String(); got != want {
			t.Errorf("session %d: worker was told client %v, it is %s", i, got, want)
		}
		closeOf(t, session)
		s.log.nextEnd(t)
	}
	if len(pids) != 5 || len(dirs) != 5 {
		t.Errorf("5 sessions ran in processes %v and directories %v", pids, dirs)
	}
}
