// Package cgroup finds what the kernel says of the control groups that bound this process: its own
// and, as their bounds are its bounds too, all above it. It knows versions 1 and 2, where they
// are mounted as usual.
package cgroup

import (
	"io/fs"
	"iter"
	"path"
	"strings"
)

// Files yields where a file is, below /sys, in each control group that the process is in: in its
// own, in the one above, and so on, in one hierarchy after the other. Names has the file's name by
// a hierarchy's controllers, as the kernel writes them; version 2 has none. Proc is /proc.
//
// A group may lack the file, or not be visible: the names are the host's if the process has no
// namespace of control groups. In a container, the topmost is that of the container all the same.
func Files(proc fs.FS, names map[string]string) iter.Seq[string] {
	return func(yield func(string) bool) {
		groups, _ := fs.ReadFile(proc, "self/cgroup")
		for line := range strings.Lines(string(groups)) { // ID:CONTROLLERS:PATH
			_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
			controllers, group, ok := strings.Cut(rest, ":")
			name, wanted := names[controllers]
			if !ok || !wanted {
				continue
			}
			for at := path.Clean("/" + group); ; at = path.Dir(at) {
				if !yield(path.Join("fs/cgroup", controllers, at, name)) {
					return
				}
				if at == "/" {
					break
				}
			}
		}
	}
}
