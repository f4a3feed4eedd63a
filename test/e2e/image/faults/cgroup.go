package faults

import (
	"fmt"
	"strings"
)

// parseID takes an id as containerd gives it, or as a pod's status shows it, with
// the runtime's name before it.
func parseID(container string) (string, error) {
	id := container
	if _, after, found := strings.Cut(container, "://"); found {
		id = after
	}
	const shortest = 12 // what tools print at least
	if len(id) < shortest || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return "", fmt.Errorf("container id %q: want the whole id, with or without containerd://", container)
	}
	return id, nil
}

// within says whether a process with this /proc/PID/cgroup is in the container of
// that id, or in a group below it.
func within(groups, id string) bool {
	for line := range strings.Lines(groups) {
		// hierarchy:controllers:path, and the path may have colons, too
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		for segment := range strings.SplitSeq(parts[2], "/") {
			if isContainer(segment, id) {
				return true
			}
		}
	}
	return false
}

// isContainer knows the names that runtimes give a container's group: ID,
// RUNTIME-ID.scope, and SLICE:RUNTIME:ID, which is what one gets who lets runc
// without systemd have a name that was meant for systemd.
func isContainer(segment, id string) bool {
	if rest, found := strings.CutSuffix(segment, ".scope"); found {
		return strings.HasSuffix(rest, "-"+id)
	}
	return segment == id || strings.HasSuffix(segment, ":"+id)
}
