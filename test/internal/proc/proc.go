//go:build linux

// Package proc looks at processes as the kernel shows them in /proc, and holds
// what the load and the chaos program need to be the parent of everything that
// they start. It is for tests.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Stat is what /proc/PID/stat says about a process.
type Stat struct {
	PID, Parent int
	Name        string
	State       byte // Z is a zombie
}

// ParseStat parses a line of /proc/PID/stat. The name may hold anything,
// closing parentheses and blanks too, so it ends at the last one.
func ParseStat(line []byte) (Stat, error) {
	open, shut := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 0 || shut < open {
		return Stat{}, fmt.Errorf("process status %.40q has no name", line)
	}
	rest := strings.Fields(string(line[shut+1:]))
	if len(rest) < 2 || len(rest[0]) != 1 {
		return Stat{}, fmt.Errorf("process status %.40q is cut short", line)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:open])))
	if err != nil {
		return Stat{}, fmt.Errorf("process id: %w", err)
	}
	parent, err := strconv.Atoi(rest[1])
	if err != nil {
		return Stat{}, fmt.Errorf("parent's process id: %w", err)
	}
	return Stat{PID: pid, Parent: parent, Name: string(line[open+1 : shut]), State: rest[0][0]}, nil
}

// All lists what runs now. Processes that end meanwhile are left out.
func All() ([]Stat, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make([]Stat, 0, len(paths))
	for _, path := range paths {
		line, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		s, err := ParseStat(line)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Descendants lists the children of pid, theirs, and so on, zombies included.
func Descendants(pid int) ([]Stat, error) {
	all, err := All()
	if err != nil {
		return nil, err
	}
	return Among(all, pid), nil
}

// Among is [Descendants] in a list of processes.
func Among(all []Stat, pid int) []Stat {
	var found []Stat
	for _, s := range all {
		if s.Parent == pid {
			found = append(found, s)
			found = append(found, Among(all, s.PID)...)
		}
	}
	return found
}

// ticksPerSecond is the unit in which Linux tells programs about CPU time, on
// every architecture.
const ticksPerSecond = 100

// CPUSeconds is how much CPU time a process has used.
func CPUSeconds(pid int) (float64, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return parseCPU(line)
}

// parseCPU finds the user and the system time in a line of /proc/PID/stat: the
// 12th and 13th word after the name.
func parseCPU(line []byte) (float64, error) {
	rest := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	const user, system = 11, 12
	if len(rest) <= system {
		return 0, fmt.Errorf("process status %.40q is cut short", line)
	}
	var ticks float64
	for _, word := range []string{rest[user], rest[system]} {
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time: %w", err)
		}
		ticks += float64(n)
	}
	return ticks / ticksPerSecond, nil
}

// OpenFiles lists the descriptors that a process has: what each is open on, as
// the kernel names it.
func OpenFiles(pid int) ([]string, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list descriptors: %w", err)
	}
	files := make([]string, 0, len(entries))
	for _, entry := range entries {
		file, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if errors.Is(err, os.ErrNotExist) { // closed meanwhile, or our own of ReadDir
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list descriptors: %w", err)
		}
		files = append(files, file)
	}
	return files, nil
}

// ResidentBytes is how much memory a process has in use.
func ResidentBytes(pid int) (float64, error) {
	kib, err := FieldKiB(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
	return kib * 1024, err
}

// FieldKiB reads a field such as "VmRSS:  1234 kB".
func FieldKiB(path, field string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read memory use: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			words := strings.Fields(rest)
			if len(words) == 0 {
				break
			}
			return strconv.ParseFloat(words[0], 64)
		}
	}
	return 0, fmt.Errorf("%s has no field %s", path, field)
}

// Argument0 is the name under which a process was started; empty if it is gone
// or has none.
func Argument0(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	name, _, _ := bytes.Cut(line, []byte{0})
	return string(name)
}
