//go:build linux

package faults

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"rpcpool.dev/test/internal/proc"
)

// Process is one of a container's, as its node sees it.
type Process struct {
	PID     int      `json:"pid"`    // on the node
	Inside  int      `json:"inside"` // in the container; as PID, if it has the node's process ids
	Parent  int      `json:"parent"` // on the node
	Name    string   `json:"name"`   // the kernel's, of at most 15 bytes
	State   string   `json:"state"`  // R, S, D, T, Z …: see proc_pid_stat(5)
	Command []string `json:"command"`

	Children []Process `json:"children,omitempty"` // only in [Tree]

	program string // the executable's file name
	started uint64 // in ticks since the node's start
}

// Node is where the processes are.
type Node struct {
	// Proc is the node's /proc.
	Proc string
}

// Processes lists those of a container, the oldest first. It is an error if there
// are none. container is the id, or what a pod's status says: containerd://ID.
func (n Node) Processes(container string) ([]Process, error) {
	id, err := parseID(container)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(n.Proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // not a process
		}
		p, err := n.process(pid, id)
		switch {
		case err == nil:
			found = append(found, p)
		case !gone(err):
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no process of container %s in %s: it has ended, is on another node, or this pod lacks hostPID", id, n.Proc)
	}
	slices.SortFunc(found, func(a, b Process) int {
		return cmp.Or(cmp.Compare(a.started, b.started), cmp.Compare(a.PID, b.PID))
	})
	return found, nil
}

// errElsewhere is of processes that are not in the container.
var errElsewhere = errors.New("not in the container")

// gone is of processes that have ended meanwhile, or never were the container's.
func gone(err error) bool {
	return errors.Is(err, errElsewhere) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// process reads what /proc tells about a process of a container.
func (n Node) process(pid int, id string) (Process, error) {
	dir := filepath.Join(n.Proc, strconv.Itoa(pid))
	groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return Process{}, fmt.Errorf("control groups of %d: %w", pid, err)
	}
	if !within(string(groups), id) {
		return Process{}, errElsewhere
	}
	line, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Process{}, fmt.Errorf("status of %d: %w", pid, err)
	}
	stat, err := proc.ParseStat(line)
	if err != nil {
		return Process{}, fmt.Errorf("status of %d: %w", pid, err)
	}
	p := Process{PID: pid, Inside: pid, Parent: stat.Parent, Name: stat.Name, State: string(stat.State)}
	if p.started, err = startTime(line); err != nil {
		return Process{}, fmt.Errorf("status of %d: %w", pid, err)
	}
	// The rest is for people, and a zombie has none of it.
	status, _ := os.ReadFile(filepath.Join(dir, "status"))
	if inside, ok := innermost(status); ok {
		p.Inside = inside
	}
	command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	if command = bytes.TrimSuffix(command, []byte{0}); len(command) > 0 {
		p.Command = strings.Split(string(command), "\x00")
	}
	program, _ := os.Readlink(filepath.Join(dir, "exe"))
	p.program = filepath.Base(strings.TrimSuffix(program, " (deleted)"))
	return p, nil
}

// startTime is the 20th word after the name in a line of /proc/PID/stat.
func startTime(line []byte) (uint64, error) {
	const start = 19
	words := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	if len(words) <= start {
		return 0, errors.New("no start time")
	}
	ticks, err := strconv.ParseUint(words[start], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("start time: %w", err)
	}
	return ticks, nil
}

// innermost is a process' id in its own namespace, the last of the line NSpid in
// /proc/PID/status.
func innermost(status []byte) (int, bool) {
	for line := range strings.Lines(string(status)) {
		if ids, found := strings.CutPrefix(line, "NSpid:"); found {
			words := strings.Fields(ids)
			if len(words) == 0 {
				return 0, false
			}
			pid, err := strconv.Atoi(words[len(words)-1])
			return pid, err == nil
		}
	}
	return 0, false
}

// Tree puts processes below their parents. Roots are those whose parents are not
// among them: a container's first, and what was executed in it later.
func Tree(all []Process) []Process {
	here := make(map[int]bool, len(all))
	for _, p := range all {
		here[p.PID] = true
	}
	var roots []Process
	for _, p := range all {
		if !here[p.Parent] {
			roots = append(roots, below(all, p))
		}
	}
	return roots
}

func below(all []Process, p Process) Process {
	for _, q := range all {
		if q.Parent == p.PID {
			p.Children = append(p.Children, below(all, q))
		}
	}
	return p
}
