package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// nodeGroups matches the control groups of nodes, and not those of an agent on this
// machine.
const nodeGroups = namespaceOf + "n[0-9]*"

// left lists what is outside of the state directory and belongs to the cluster:
// after `down`, nothing.
func (c *cluster) left() []string {
	var found []string
	for _, pattern := range []string{
		filepath.Join(namespaces, namespaceOf+"*"),
		filepath.Join("/sys/class/net", hostLink),
		filepath.Join(groups, nodeGroups),
		filepath.Join(groups, "*", nodeGroups),
		c.dir,
	} {
		if paths, err := filepath.Glob(pattern); err == nil {
			found = append(found, paths...)
		}
	}
	if text, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			// The fifth field is the mount point; the fourth is what of a file system is there.
			if fields := strings.Fields(line); len(fields) > 4 && (under(fields[4], c.dir) || under(fields[3], c.dir)) {
				found = append(found, "mount "+fields[4])
			}
		}
	}
	return append(found, c.processes()...)
}

// processes are those that run from the state directory, or in it, as every
// service of every machine does.
func (c *cluster) processes() []string {
	var found []string
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		line, err := os.ReadFile(filepath.Join(entry, "cmdline"))
		if err != nil || filepath.Base(entry) == fmt.Sprint(os.Getpid()) {
			continue
		}
		program, err := os.Readlink(filepath.Join(entry, "exe"))
		if err == nil && under(strings.TrimSuffix(program, " (deleted)"), c.dir) {
			found = append(found, fmt.Sprintf("process %s: %s", filepath.Base(entry), strings.ReplaceAll(string(line), "\x00", " ")))
		}
	}
	return found
}

// under tells whether a path is a directory or in it.
func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
