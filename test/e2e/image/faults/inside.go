//go:build linux

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Environment is that with which a container's first process was started; see
// proc_pid_environ(5).
func (n Node) Environment(container string) (map[string]string, error) {
	all, err := n.Processes(container)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(n.Proc, strconv.Itoa(all[0].PID), "environ"))
	if err != nil {
		return nil, fmt.Errorf("environment of container %s: %w", container, err)
	}
	variables := make(map[string]string)
	for variable := range strings.SplitSeq(string(text), "\x00") {
		if name, value, ok := strings.Cut(variable, "="); ok {
			variables[name] = value
		}
	}
	return variables, nil
}

// Mounts lists where something is mounted in a container, as its first process sees
// it; see proc_pid_mountinfo(5).
func (n Node) Mounts(container string) ([]string, error) {
	all, err := n.Processes(container)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(n.Proc, strconv.Itoa(all[0].PID), "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("mounts of container %s: %w", container, err)
	}
	const at = 4 // the word that says where
	var mounts []string
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) <= at {
			return nil, fmt.Errorf("mounts of container %s: %q cannot be understood", container, line)
		}
		mounts = append(mounts, words[at])
	}
	return mounts, nil
}

// Offer makes a container's first process the one that the kernel kills when the
// container's memory runs out, whatever those use that there are now, and returns its
// id; see proc_pid_oom_score_adj(5). With it, everything in the container ends.
func (n Node) Offer(container string) (pid int, err error) {
	all, err := n.Processes(container)
	if err != nil {
		return 0, err
	}
	for i, p := range all {
		score := "0"
		if i == 0 {
			score = "1000"
		}
		if err := os.WriteFile(filepath.Join(n.Proc, strconv.Itoa(p.PID), "oom_score_adj"), []byte(score), 0o600); err != nil {
			return 0, fmt.Errorf("process %d of container %s: %w", p.PID, container, err)
		}
	}
	return all[0].PID, nil
}
