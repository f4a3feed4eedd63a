//go:build linux

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"rpcpool.dev/test/internal/proc"
)

// notifySockets lists the inodes of the sockets that workers report to.
func notifySockets() map[string]bool {
	text, _ := os.ReadFile("/proc/net/unix")
	inodes := map[string]bool{}
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		const inode, path = 6, 7
		if len(fields) > path && strings.HasPrefix(fields[path], "@rpcpool-notify-") {
			inodes[fields[inode]] = true
		}
	}
	return inodes
}

// openAmong counts a process's descriptors on sockets of a set.
func openAmong(pid int, inodes map[string]bool) (n int) {
	files, _ := proc.OpenFiles(pid)
	for _, file := range files {
		if rest, ok := strings.CutPrefix(file, "socket:["); ok && inodes[strings.TrimSuffix(rest, "]")] {
			n++
		}
	}
	return n
}

// agentGroup is the name of a control group that an agent makes.
var agentGroup = regexp.MustCompile(`^rpcpool-agent-(\d+)-\d+$`)

// deadGroups lists control groups of agents of ours that are dead.
func (f *fleet) deadGroups() (list []string) {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		m := agentGroup.FindStringSubmatch(d.Name())
		if m == nil {
			return nil
		}
		pid, err := strconv.Atoi(m[1])
		if err == nil && f.wasAgent(pid) && proc.Argument0(pid) == "" {
			list = append(list, path)
		}
		return fs.SkipDir
	})
	return list
}
