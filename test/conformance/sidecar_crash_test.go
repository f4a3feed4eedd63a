//go:build linux

package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/workers/go/client"
)

// startAgent starts an agent as a container of its own would, and stops it
// when the test ends.
func startAgent(t *testing.T, dir string) {
	t.Helper()
	socket := filepath.Join(dir, "agent.sock")
	cmd := exec.Command(agentPath, "--socket", socket, "--work-root", filepath.Join(dir, "work"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("agent: %v", err)
		}
	})
}

// The sidecar's container dies in a session, and comes back: the session goes
// on, nobody else gets its device, and it is offered again when it is over.
func TestSidecarCrashKeepsTheSession(t *testing.T) {
	t.Parallel()
	tr, dir := startTracker(t), tempDir(t)
	startAgent(t, dir)
	first := startServeIn(t, tr, dir)
	session := tr.open(client.Options{Timeout: time.Minute})
	worker := pidOf(t, session)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	eventually(t, patience, "the tracker lets go", func() bool { return len(tr.Summary().Servers) == 0 })
	if pid := pidOf(t, session); pid != worker {
		t.Errorf("worker is %d now, was %d", pid, worker)
	}
	startServeIn(t, tr, dir)
	eventually(t, patience, "the new sidecar says busy", func() bool {
		servers := tr.Summary().Servers
		return len(servers) == 1 && servers[0].State() == "busy"
	})
	if about := string(tr.Summary().Servers[0].Info["session"]); !strings.Contains(about, session.NetConn().LocalAddr().String()) {
		t.Errorf("the session is shown as %s, want its client", about)
	}
	if free := tr.Summary().Queue[key].Free; free != 0 {
		t.Errorf("%d offers of a device in a session", free)
	}
	checkAddOne(t, session)
	closeOf(t, session)
	tr.works()
}

// The deadline of a session is the agent's: it holds while no sidecar is there.
func TestSidecarCrashKeepsTheDeadline(t *testing.T) {
	t.Parallel()
	tr, dir := startTracker(t), tempDir(t)
	startAgent(t, dir)
	first := startServeIn(t, tr, dir)
	began := time.Now()
	session := tr.open(client.Options{Timeout: limit})
	worker := pidOf(t, session)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	eventually(t, patience, "the worker is killed", func() bool { return !alive(worker) })
	if took := time.Since(began); took < limit-slack/2 || took > limit+time.Second+slack {
		t.Errorf("worker killed after %v, want %v", took, limit)
	}
	startServeIn(t, tr, dir)
	tr.works()
}
