package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// removeDeadGroups kills and removes what agents that are dead left in own.
func removeDeadGroups(own string, proc *procfs) {
	entries, err := os.ReadDir(own)
	if err != nil {
		return
	}
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Name(), groupPrefix)
		if !ok || agentLives(id, proc) {
			continue
		}
		dir := filepath.Join(own, e.Name())
		workers, _ := os.ReadDir(dir)
		for _, w := range workers {
			if w.IsDir() {
				_ = groupAt(filepath.Join(dir, w.Name())).remove()
			}
		}
		_ = syscall.Rmdir(dir)
	}
}

// agentLives tells whether the agent that named its group "<pid>-<start>" does.
func agentLives(id string, proc *procfs) bool {
	pidText, startText, _ := strings.Cut(id, "-")
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		return true // not of our making
	}
	p, err := proc.stat(pid)
	return err == nil && strconv.FormatUint(p.start, 10) == startText
}
