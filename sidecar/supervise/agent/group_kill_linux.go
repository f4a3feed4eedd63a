package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of killing, which happens in the agent's loop. What is left is met
// again by the next sweep.
const (
	freezeWait = 10 * time.Millisecond
	haltRounds = 8
)

// kill sends SIGKILL to every process in the groups, so that nothing that they
// fork meanwhile is left: by version 2, or by the freezer of version 1, or by
// hand where there is neither. By hand is also for what has left one of the
// groups.
func (g *group) kill() {
	if g == nil {
		return
	}
	done := ""
	switch {
	case g.unified != "" && os.WriteFile(filepath.Join(g.unified, "cgroup.kill"), []byte("1"), 0) == nil:
		done = g.unified
	case g.freezer != "" && killFrozen(g.freezer):
		done = g.freezer
	}
	for _, dir := range g.dirs {
		if dir != done {
			killHalted(dir)
		}
	}
}

// killFrozen kills all processes of a version 1 freezer: they are frozen first,
// which their forks are born as. It is false if they do not freeze in time.
func killFrozen(dir string) bool {
	state := filepath.Join(dir, "freezer.state")
	if os.WriteFile(state, []byte("FROZEN"), 0) != nil {
		return false
	}
	frozen := false
	for end := time.Now().Add(freezeWait); !frozen && time.Now().Before(end); {
		b, err := os.ReadFile(state)
		frozen = err == nil && strings.TrimSpace(string(b)) == "FROZEN"
		if !frozen {
			time.Sleep(freezeWait / 20)
		}
	}
	for _, pid := range members(dir) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	_ = os.WriteFile(state, []byte("THAWED"), 0)
	return frozen
}

// killHalted stops all processes of a group until no new ones come, and then
// kills them. To kill them at once would be a race: each that dies makes room
// under a limit of processes, which another's fork fills.
func killHalted(dir string) {
	halted := map[int]struct{}{}
	for range haltRounds {
		fresh := false
		for _, pid := range members(dir) {
			if _, known := halted[pid]; !known {
				_ = unix.Kill(pid, unix.SIGSTOP)
				halted[pid] = struct{}{}
				fresh = true
			}
		}
		if !fresh {
			break
		}
	}
	for pid := range halted {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// members lists the processes of a group.
func members(dir string) (pids []int) {
	b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for word := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 1 {
			pids = append(pids, pid)
		}
	}
	return pids
}
