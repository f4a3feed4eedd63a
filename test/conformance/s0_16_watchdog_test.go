//go:build linux

package conformance

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/workers/go/client"
)

func watchdogged(o *sidecar.Options) { o.Isolation = sidecar.IsolationWatchdog }

// One process accepts the sessions and serves them, and makes no other for it.
func TestS0_16_OneProcessServesAll(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr, watchdogged).ready()
	worker, dirs := 0, map[any]bool{}
	for i := range 10 {
		session := tr.open(client.Options{Timeout: patience})
		if pid := pidOf(t, session); worker == 0 {
			worker = pid
		} else if pid != worker {
			t.Errorf("session %d runs in process %d, the first in %d", i, pid, worker)
		}
		if below := descendants(s.agentPID()); len(below) != 1 || below[0] != worker {
			t.Errorf("session %d: processes %v below the agent, want the worker %d", i, below, worker)
		}
		if files, err := session.ListDir(t.Context()); err != nil || len(files) > 0 {
			t.Errorf("session %d begins with files %q, %v", i, files, err)
		}
		call(t, session, "test.write", "file", "text")
		dirs[call(t, session, "test.cwd")] = true
		closeOf(t, session)
		if e := s.log.nextEnd(t); e.cause != "completed" {
			t.Errorf("session %d: %s: %s", i, e.cause, e.how)
		}
	}
	if len(dirs) != 10 {
		t.Errorf("10 sessions had the directories %v", dirs)
	}
}

// The deadline is the worker's own: it is over at the time, with status 0, and
// the client is told by who is left.
//
// On a machine that is busy twice over, the thread that ends the worker may get
// no processor before the kernel's timer behind it, 25 ms later: then the end is
// as timely and as true, but not by exit. So it is given a few chances.
func TestS0_18_WorkerEndsItselfAtTheDeadline(t *testing.T) {
	t.Parallel()
	const chances = 3
	tr := startTracker(t)
	s := startServer(t, tr, watchdogged).ready()
	for chance := 1; ; chance++ {
		session := tr.open(client.Options{Timeout: limit})
		began := time.Now()
		_, err := tryCall(session, "test.spin")
		took := time.Since(began)
		if !errors.Is(err, client.ErrSessionTimeout) || took > limit+slack || took < limit-slack {
			t.Errorf("client got %v after %v, want a session timeout after %v", err, took, limit)
		}
		e := s.log.nextEnd(t)
		if e.cause != "timeout" || e.limit != "session" {
			t.Errorf("recorded %s, limit %q: %s", e.cause, e.limit, e.how)
		}
		tr.works()
		s.log.nextEnd(t)
		if e.how == "exit status 0" {
			return
		}
		if chance == chances {
			t.Fatalf("the worker did not end by itself, %d times: %s", chances, e.how)
		}
		t.Logf("not by itself, for once: %s", e.how)
	}
}

// However the worker ends, it is started again.
func TestS0_19_WorkerIsRestartedWhateverItsStatus(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr, watchdogged).ready()
	agent, seen := s.agentPID(), map[int]bool{}
	for i := range scaled(30, 100) {
		session := tr.open(client.Options{})
		pid := pidOf(t, session)
		if seen[pid] {
			t.Fatalf("round %d: worker %d is there again", i, pid)
		}
		seen[pid] = true
		switch i % 3 {
		case 0:
			_ = syscall.Kill(pid, syscall.SIGKILL)
		case 1:
			_ = crash(t, session, "test.exit0")
		default:
			_ = crash(t, session, "test.exit", 3)
		}
		_ = session.Close()
		s.log.nextEnd(t)
	}
	tr.works()
	// Between sessions, too.
	session := tr.open(client.Options{})
	pid := pidOf(t, session)
	closeOf(t, session)
	s.waitState("free")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	tr.works()
	if s.agentPID() != agent {
		t.Error("the agent is not the one from before")
	}
}
