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
		session := tr.open(client.Options{Timeout: limit})
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
func TestS0_18_WorkerEndsItselfAtTheDeadline(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr, watchdogged).ready()
	session := tr.open(client.Options{Timeout: limit})
	began := time.Now()
	_, err := tryCall(session, "test.spin")
	took := time.Since(began)
	if !errors.Is(err, client.ErrSessionTimeout) || took > limit+slack || took < limit-slack {
		t.Errorf("client got %v after %v, want a session timeout after %v", err, took, limit)
	}
	if e := s.log.nextEnd(t); e.cause != "timeout" || e.how != "exit status 0" || e.limit != "session" {
		t.Errorf("recorded %s, limit %q: %s", e.cause, e.limit, e.how)
	}
	tr.works()
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
