//go:build linux

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eventually polls cond until it holds; there is no event to wait for in
// another process or in the kernel's tables.
func eventually(t testing.TB, within time.Duration, what string, cond func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !cond() {
		if time.Since(began) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// alive tells whether a process exists and is not just a zombie.
func alive(pid int) bool {
	state, _, ok := stat(pid)
	return ok && state != "Z" && state != "X"
}

// stat reads a process's state and parent from /proc/PID/stat.
func stat(pid int) (state string, parent int, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, false
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err == nil
}

// descendants returns every process below pid, zombies included.
func descendants(pid int) []int {
	parents := map[int]int{}
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range names {
		if p, err := strconv.Atoi(filepath.Base(name)); err == nil {
			if _, parent, ok := stat(p); ok {
				parents[p] = parent
			}
		}
	}
	below := []int{pid}
	for i := 0; i < len(below); i++ {
		for p, parent := range parents {
			if parent == below[i] {
				below = append(below, p)
			}
		}
	}
	slices.Sort(below[1:])
	return below[1:]
}

// named returns the descendants of pid whose program was started under name.
func named(pid int, name string) []int {
	var out []int
	for _, p := range descendants(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p))
		if err != nil {
			continue
		}
		if argv0, _, _ := strings.Cut(string(b), "\x00"); filepath.Base(argv0) == name {
			out = append(out, p)
		}
	}
	return out
}

// openFDs returns what each descriptor of a process leads to, as "3 -> socket:[7]".
func openFDs(pid int) []string {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && target != dir {
			out = append(out, e.Name()+" -> "+target)
		}
	}
	return out
}

// parsePIDs reads "12,34", as test.grandchildren returns it.
func parsePIDs(t testing.TB, text string) []int {
	t.Helper()
	var pids []int
	for part := range strings.SplitSeq(text, ",") {
		pid, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil {
			t.Fatalf("pids %q: %v", text, err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// containsArg tells whether a /proc/PID/cmdline has an argument.
func containsArg(cmdline []byte, arg string) bool {
	return slices.Contains(strings.Split(string(cmdline), "\x00"), arg)
}

// killProcess sends SIGKILL.
func killProcess(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }
