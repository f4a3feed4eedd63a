package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"rpcpool.dev/internal/cgroup"
)

// oomCounter reads how often the kernel killed a process for lack of memory in
// the agent's memory cgroup, that is in the container: the workers share it.
// Where there is no such group it reads the whole machine's counter.
type oomCounter struct {
	path string // "" if there is none
	key  string
}

// newOOMCounter finds the counter below root, which is "/" but in tests.
func newOOMCounter(root string) oomCounter {
	for _, c := range oomCandidates(root) {
		if _, ok := c.read(); ok {
			return c
		}
	}
	return oomCounter{}
}

func oomCandidates(root string) []oomCounter {
	groups, err := readCgroups(root)
	if err != nil {
		return []oomCounter{{path: filepath.Join(root, "proc/vmstat"), key: "oom_kill"}}
	}
	var out []oomCounter
	if dir, ok := groups.dir(""); ok {
		out = append(out, oomCounter{filepath.Join(root, dir, "memory.events"), "oom_kill"})
	}
	if dir, ok := groups.dir("memory"); ok {
		out = append(out, oomCounter{filepath.Join(root, dir, "memory.oom_control"), "oom_kill"})
	}
	return append(out, oomCounter{filepath.Join(root, "proc/vmstat"), "oom_kill"})
}

// memoryLimit is the most memory, in bytes, that the agent's control group, that
// is the container, may use; 0 if there is no bound, or none that can be read.
func memoryLimit(root string) int64 {
	groups, err := readCgroups(root)
	if err != nil {
		return 0
	}
	for controller, file := range map[string]string{"": "memory.max", "memory": "memory.limit_in_bytes"} {
		dir, ok := groups.dir(controller)
		if !ok {
			continue
		}
		const unlimited = 1 << 60 // version 1 has no word for it
		if n, ok := readNumber(filepath.Join(root, dir, file)); ok && n < unlimited {
			return int64(n)
		}
	}
	return 0
}

// read returns the counter; ok is false if it cannot be read.
func (c oomCounter) read() (n uint64, ok bool) {
	if c.path == "" {
		return 0, false
	}
	b, err := os.ReadFile(c.path)
	if err != nil {
		return 0, false
	}
	return cgroup.Counter(string(b), c.key)
}

// readNumber reads a file that holds one number.
func readNumber(path string) (n uint64, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
