package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"rpcpool.dev/sidecar/supervise"
)

// builder makes the groups of one worker.
type builder struct {
	groups *groups
	group  *group
	name   string
	limits supervise.Limits
	errs   []error
}

// make makes the worker's directory in one of the agent's.
func (b *builder) make(in string) (dir string, err error) {
	dir = filepath.Join(in, b.name)
	if slices.Contains(b.group.dirs, dir) {
		return dir, nil // of another controller in the same hierarchy
	}
	err = os.Mkdir(dir, 0o755)
	switch {
	case errors.Is(err, os.ErrExist): // of an unkillable worker that has died since
		if err = groupAt(dir).remove(); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	case errors.Is(err, os.ErrNotExist): // somebody cleaned up
		if err = makeGroup(in); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	if err != nil {
		return "", fmt.Errorf("make control group: %w", err)
	}
	b.group.dirs = append(b.group.dirs, dir)
	return dir, nil
}

// v1 makes the worker's group of a version 1 controller.
func (b *builder) v1(controller, in string) {
	before := len(b.group.dirs)
	dir, err := b.make(in)
	if err != nil {
		b.errs = append(b.errs, err)
		b.groups.lack(controller, err)
		return
	}
	b.set(controller, dir, false)
	if len(b.group.dirs) == before {
		return // joined already
	}
	// Not cgroup.procs: that moves all threads, for which the kernel stops every
	// fork on the machine for some milliseconds. Of the trampoline only the thread
	// that writes survives its exec.
	b.group.entries = append(b.group.entries, entry{File: filepath.Join(dir, "tasks"), Text: "0"})
}

// set sets a controller's limit, and notes what the group can be asked.
func (b *builder) set(controller, dir string, unified bool) {
	switch controller {
	case controlMemory:
		b.group.memory = dir
	case controlFreezer:
		b.group.freezer = dir
	case controlPids:
		b.group.pids = dir
	}
	var failure error
	for _, s := range settings(controller, unified, b.limits) {
		err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0)
		if err != nil && !s.optional {
			failure = fmt.Errorf("limit %s: %w", controller, err)
			break
		}
	}
	b.groups.lack(controller, failure)
	if failure != nil {
		b.errs = append(b.errs, failure)
	}
}

// limitProcesses has the trampoline set the limit on processes as the last
// thing that it does: before its exec it has a handful of threads itself.
func (b *builder) limitProcesses() {
	if b.group.pids != "" && b.limits.Processes > 0 {
		b.group.entries = append(b.group.entries, entry{
			File: filepath.Join(b.group.pids, "pids.max"), Text: strconv.FormatInt(b.limits.Processes, 10),
		})
	}
}

// entry is a write by which the trampoline gets under a group's control.
type entry struct {
	File string `json:"file"`
	Text string `json:"text"`
}
