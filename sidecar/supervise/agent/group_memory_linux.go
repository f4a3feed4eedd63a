package agent

import (
	"os"
	"path/filepath"

	"rpcpool.dev/internal/cgroup"
)

// oomKills counts the processes of the group that the kernel killed for lack of
// memory, its own or that of a group around it; ok is false if that is not known.
func (g *group) oomKills() (n uint64, ok bool) {
	if g == nil || g.memory == "" {
		return 0, false
	}
	for _, source := range []struct{ file, key string }{
		{"memory.events", "oom_kill"}, {"memory.oom_control", "oom_kill"},
	} {
		text, err := os.ReadFile(filepath.Join(g.memory, source.file))
		if err != nil {
			continue
		}
		if n, ok := cgroup.Counter(string(text), source.key); ok {
			return n, true
		}
	}
	// Linux before 4.13: how often the limit was met. Who died of SIGKILL then,
	// died of that.
	return readNumber(filepath.Join(g.memory, "memory.failcnt"))
}

// peakMemory is the most memory that the group used at a time, in bytes; 0 if
// that is not known.
func (g *group) peakMemory() int64 {
	if g == nil || g.memory == "" {
		return 0
	}
	for _, file := range []string{"memory.peak", "memory.max_usage_in_bytes"} {
		if n, ok := readNumber(filepath.Join(g.memory, file)); ok {
			return int64(n)
		}
	}
	return 0
}
