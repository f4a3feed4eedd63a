package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A node's containers are in a control group of the node, in every hierarchy: the
// kubelet is told not to look above it. Version 1 and version 2 of control groups
// are the machine's choice.
const groups = "/sys/fs/cgroup"

// group is the name of a node's control group.
func (m *machine) group() string { return namespaceOf + m.name }

// hierarchies are the directories in which a node needs a group.
func hierarchies() ([]string, error) {
	if unified(groups) {
		return []string{groups}, nil
	}
	entries, err := os.ReadDir(groups)
	if err != nil {
		return nil, fmt.Errorf("control groups: %w", err)
	}
	var all []string
	for _, e := range entries {
		// A link is another name of a hierarchy, such as cpu,cpuacct.
		if e.IsDir() {
			all = append(all, filepath.Join(groups, e.Name()))
		}
	}
	return all, nil
}

// unified tells whether a directory is one of control groups of version 2.
func unified(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// makeGroups makes the node's control groups, empty ones: what an earlier life has left
// would cost the kubelet seconds for each.
func (m *machine) makeGroups(ctx context.Context) error {
	if err := m.removeGroups(ctx); err != nil {
		return err
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range all {
		dir := filepath.Join(hierarchy, m.group())
		if err := delegate(hierarchy); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("control group: %w", err)
		}
		if err := errors.Join(delegate(dir), inheritCPUs(dir)); err != nil {
			return err
		}
	}
	return nil
}

// delegate lets the children of a group of version 2 use every controller.
func delegate(dir string) error {
	if !unified(dir) {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	for controller := range strings.FieldsSeq(string(text)) {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0)
		if err != nil {
			return fmt.Errorf("controller %s of group %s: %w", controller, dir, err)
		}
	}
	return nil
}

// inheritCPUs gives a new group of version 1's cpuset the processors of its parent;
// without, no process can be put into it.
func inheritCPUs(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if errors.Is(err, fs.ErrNotExist) || len(bytes.TrimSpace(text)) == 0 {
			continue
		} else if err != nil {
			return fmt.Errorf("control group: %w", err)
		}
		//nolint:gosec // the kernel made the file
		if err := os.WriteFile(filepath.Join(dir, file), text, 0); err != nil {
			return fmt.Errorf("control group: %w", err)
		}
	}
	return nil
}

// removeGroups removes the node's control groups. Their processes are dead, but
// the kernel may need a moment to forget the last ones.
func (m *machine) removeGroups(ctx context.Context) error {
	if m.node == 0 {
		return nil
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range all {
		dir := filepath.Join(hierarchy, m.group())
		for {
			err := removeGroup(dir)
			if err == nil {
				break
			}
			if pause(ctx, 50*time.Millisecond) != nil {
				return fmt.Errorf("remove control group: %w", err)
			}
		}
	}
	return nil
}

// removeGroup removes a group and those below it, once.
func removeGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}
