package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// groupPrefix begins the name of the agent's groups; its pid and start time,
// which tell an agent from its successors, follow.
const groupPrefix = "rpcpool-agent-"

// cgroups says where the agent's own control groups are.
type cgroups struct {
	mounts []cgroupMount
	paths  map[string]string // by controller; "" is the version 2 hierarchy
}

type cgroupMount struct {
	root        string // the hierarchy's directory that is mounted
	point       string
	unified     bool     // version 2
	controllers []string // version 1
}

// readCgroups reads /proc/self/mountinfo and /proc/self/cgroup below root.
func readCgroups(root string) (cgroups, error) {
	mounts, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return cgroups{}, fmt.Errorf("find cgroups: %w", err)
	}
	paths, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return cgroups{}, fmt.Errorf("find cgroups: %w", err)
	}
	return cgroups{mounts: parseMountinfo(string(mounts)), paths: parseCgroupPaths(string(paths))}, nil
}

// dir returns the directory of the process's group of a version 1 controller,
// or of version 2 if controller is empty. ok is false where it is not mounted
// or lies outside of what is mounted.
func (c cgroups) dir(controller string) (dir string, ok bool) {
	path, ok := c.paths[controller]
	if !ok {
		return "", false
	}
	for _, m := range c.mounts {
		if m.unified != (controller == "") || (!m.unified && !slices.Contains(m.controllers, controller)) {
			continue
		}
		rel, err := filepath.Rel(m.root, path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			continue
		}
		return filepath.Join(m.point, rel), true
	}
	return "", false
}

// parseMountinfo takes the cgroup mounts out of /proc/self/mountinfo (proc(5)):
// "ID PARENT DEV ROOT POINT OPTIONS [TAG…] - TYPE SOURCE SUPEROPTIONS".
func parseMountinfo(text string) []cgroupMount {
	var out []cgroupMount
	for line := range strings.Lines(text) {
		head, tail, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(head), strings.Fields(tail)
		if !ok || len(left) < 6 || len(right) < 3 {
			continue
		}
		m := cgroupMount{root: unescapeMount(left[3]), point: unescapeMount(left[4])}
		switch right[0] {
		case "cgroup2":
			m.unified = true
		case "cgroup":
			m.controllers = strings.Split(right[2], ",")
		default:
			continue
		}
		out = append(out, m)
	}
	return out
}

// unescapeMount undoes mountinfo's octal escapes of blanks and backslashes.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// parseCgroupPaths reads /proc/self/cgroup (cgroups(7)): "ID:CONTROLLERS:PATH".
func parseCgroupPaths(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if parts[0] == "0" && parts[1] == "" {
			out[""] = parts[2]
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			if controller != "" {
				out[controller] = parts[2]
			}
		}
	}
	return out
}
