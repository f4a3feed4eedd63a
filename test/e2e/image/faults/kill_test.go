//go:build linux

package faults

import (
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// group makes a control group that is named as a container's is, with a hierarchy of
// any version, and returns the container's id. Where that may not be, the test is
// skipped.
func group(t *testing.T) (id, dir string) {
	t.Helper()
	random := make([]byte, 32)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	id = hex.EncodeToString(random)
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		pod := filepath.Join(root, "rpcpool-test-"+id[:8])
		dir = filepath.Join(pod, id)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() {
			// The kernel takes a moment to forget those who were in it.
			eventually(t, "the group is empty", func() bool { return os.Remove(dir) == nil })
			_ = os.Remove(pod)
		})
		return id, dir
	}
	t.Skip("control groups cannot be made here")
	return "", ""
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// contained starts a program in a group. It ends when the test does, at the latest.
func contained(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	// A line lets a shell begin whose children are to be in the group, too.
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stdin, "\n"); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// tree starts a shell with two children in a group.
func tree(t *testing.T) (id string, shell *exec.Cmd) {
	t.Helper()
	id, dir := group(t)
	shell = contained(t, dir, "sh", "-c", "read line; exec 3<&0; cat <&3 & cat <&3 & wait")
	eventually(t, "three processes", func() bool { return len(alive(t, id)) == 3 })
	return id, shell
}

var node = Node{Proc: "/proc"}

// alive are the names of a container's processes that have not ended.
func alive(t *testing.T, id string) (names []string) {
	t.Helper()
	all, _ := node.Processes(id)
	for _, p := range all {
		if p.State != "Z" && p.State != "X" {
			names = append(names, p.Name)
		}
	}
	return names
}

func TestProcessesOfANameAreKilledAndNoOthers(t *testing.T) {
	id, shell := tree(t)
	bystander := contained(t, secondGroup(t), "cat")
	before := time.Now().UnixNano()
	report, err := node.Kill(Target{Container: "containerd://" + id, Process: "cat"}, unix.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Hits) != 2 || report.Signal != 9 {
		t.Errorf("report %+v", report)
	}
	for _, hit := range report.Hits {
		if hit.Name != "cat" || hit.At < before || hit.At > time.Now().UnixNano() {
			t.Errorf("hit %+v", hit)
		}
	}
	// The shell waits for both, and then ends by itself.
	if err := shell.Wait(); err != nil {
		t.Errorf("the shell: %v", err)
	}
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the bystander: %v", err)
	}
}

func secondGroup(t *testing.T) string {
	t.Helper()
	_, dir := group(t)
	return dir
}

func TestTheFirstProcessIsKilled(t *testing.T) {
	id, shell := tree(t)
	report, err := node.Kill(Target{Container: id, Init: true}, unix.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Hits) != 1 || report.Hits[0].PID != shell.Process.Pid || report.Hits[0].Name != "sh" {
		t.Errorf("report %+v", report)
	}
	// Not shell.Wait, which closes the pipe that the children wait for.
	if state, err := shell.Process.Wait(); err != nil || state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the shell: %v, %v", state, err)
	}
	// Its children are orphans now, and the container's all the same.
	if left := alive(t, id); len(left) != 2 {
		t.Errorf("left: %q", left)
	}
}

func TestAContainerIsStoppedAndContinued(t *testing.T) {
	id, _ := tree(t)
	states := func(want string) func() bool {
		return func() bool {
			all, err := node.Processes(id)
			for _, p := range all {
				if !strings.Contains(want, p.State) {
					return false
				}
			}
			return err == nil && len(all) == 3
		}
	}
	for _, step := range []struct {
		signal unix.Signal
		states string
	}{{unix.SIGSTOP, "T"}, {unix.SIGCONT, "SR"}} {
		report, err := node.Kill(Target{Container: id}, step.signal)
		if err != nil || len(report.Hits) != 3 {
			t.Fatalf("%+v, %v", report, err)
		}
		eventually(t, "all are in "+step.states, states(step.states))
	}
}

// TestAProcessThatIsAnotherByNowIsNotHit: between the list and the signal its id may
// have become another process'.
func TestAProcessThatIsAnotherByNowIsNotHit(t *testing.T) {
	id, _ := tree(t)
	all, err := node.Processes(id)
	if err != nil {
		t.Fatal(err)
	}
	listed := []Process{all[0], all[1], {PID: os.Getpid()}, all[2], {PID: 1 << 22}}
	listed[1].started-- // an older one, whose id it has got
	held, err := node.hold(id, listed)
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, h := range held {
		pids = append(pids, h.PID)
		_ = unix.Close(h.pidfd)
	}
	if len(pids) != 2 || pids[0] != all[0].PID || pids[1] != all[2].PID {
		t.Errorf("held %v of %+v", pids, listed)
	}
}

func TestNothingToKillIsAnError(t *testing.T) {
	id, _ := tree(t)
	report, err := node.Kill(Target{Container: id, Process: "rpcpool-worker"}, unix.SIGKILL)
	if err == nil || len(report.Hits) > 0 || !strings.Contains(err.Error(), "no running process named rpcpool-worker; it has ") {
		t.Errorf("%+v, %v", report, err)
	}
	if left := alive(t, id); len(left) != 3 {
		t.Errorf("left: %q", left)
	}
}
