package agent

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// fakeKernel is a version 2 hierarchy as the kernel keeps it: groups have
// processes, and give controllers to the groups in them only while they have
// none, but for the root.
type fakeKernel struct {
	groups map[string]*fakeGroup
	deny   map[string]error    // by "operation path"
	onMove func(k *fakeKernel) // something that happens while processes are moved
}

type fakeGroup struct {
	kind    string // cgroup.type; the root has none
	procs   []string
	offered []string // of the root
	given   []string
}

func (k *fakeKernel) denied(operation, path string) error {
	if err := k.deny[operation+" "+path]; err != nil {
		return &os.PathError{Op: operation, Path: path, Err: err}
	}
	return nil
}

// group returns a file's group.
func (k *fakeKernel) group(path string) (*fakeGroup, error) {
	if g := k.groups[filepath.Dir(path)]; g != nil {
		return g, nil
	}
	return nil, &os.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
}

// controllers are those that a group has.
func (k *fakeKernel) controllers(dir string) []string {
	if parent := k.groups[filepath.Dir(dir)]; parent != nil && dir != "/" {
		return parent.given
	}
	return k.groups[dir].offered
}

func (k *fakeKernel) read(path string) (string, error) {
	g, err := k.group(path)
	if err == nil {
		err = k.denied("read", path)
	}
	if err != nil {
		return "", err
	}
	switch filepath.Base(path) {
	case "cgroup.controllers":
		return strings.Join(k.controllers(filepath.Dir(path)), " ") + "\n", nil
	case "cgroup.subtree_control":
		return strings.Join(g.given, " ") + "\n", nil
	case "cgroup.procs":
		return strings.Join(g.procs, "\n"), nil
	case "cgroup.type":
		if g.kind != "" {
			return g.kind + "\n", nil
		}
	}
	return "", &os.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
}

func (k *fakeKernel) write(path, text string) error {
	g, err := k.group(path)
	if err == nil {
		err = k.denied("write", path)
	}
	if err == nil {
		err = k.denied("write "+text, path)
	}
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	switch filepath.Base(path) {
	case "cgroup.procs":
		if len(g.given) > 0 && g.kind != "" {
			return syscall.EBUSY
		}
		found := false
		for _, other := range k.groups {
			if i := slices.Index(other.procs, text); i >= 0 {
				other.procs = slices.Delete(other.procs, i, i+1)
				found = true
			}
		}
		if !found {
			return syscall.ESRCH
		}
		g.procs = append(g.procs, text)
		if k.onMove != nil {
			k.onMove(k)
		}
	case "cgroup.subtree_control":
		name := text[1:]
		switch {
		case text[0] == '-':
			g.given = slices.DeleteFunc(g.given, func(c string) bool { return c == name })
		case !slices.Contains(k.controllers(dir), name):
			return syscall.ENOENT
		case len(g.procs) > 0 && g.kind != "":
			return syscall.EBUSY
		default:
			g.given = append(g.given, name)
		}
	}
	return nil
}

func (k *fakeKernel) mkdir(path string) error {
	if err := k.denied("mkdir", path); err != nil {
		return err
	}
	if k.groups[path] == nil {
		k.groups[path] = &fakeGroup{kind: "domain"}
	}
	return nil
}

func (k *fakeKernel) rmdir(path string) error {
	if len(k.groups[path].procs) > 0 {
		return syscall.EBUSY
	}
	delete(k.groups, path)
	return nil
}

func (k *fakeKernel) list(path string) (names []string) {
	for dir := range k.groups {
		if filepath.Dir(dir) == path && dir != path {
			names = append(names, filepath.Base(dir))
		}
	}
	return names
}

// state shows groups with their processes and what they give.
func (k *fakeKernel) state() string {
	var b strings.Builder
	for _, dir := range slices.Sorted(maps.Keys(k.groups)) {
		b.WriteString(dir + "(" + strings.Join(k.groups[dir].procs, " ") + ")[" + strings.Join(k.groups[dir].given, " ") + "] ")
	}
	return strings.TrimSpace(b.String())
}

// container is a hierarchy with the agent (1) and others in /c.
func container(procs ...string) *fakeKernel {
	all := []string{"cpu", "io", "memory", "pids"}
	return &fakeKernel{deny: map[string]error{}, groups: map[string]*fakeGroup{
		"/":  {offered: all, given: slices.Clone(all)},
		"/c": {kind: "domain", procs: procs},
	}}
}

func TestDelegation(t *testing.T) {
	cases := map[string]struct {
		kernel *fakeKernel
		change func(k *fakeKernel)
		own    string
		have   string
		lacks  string // a part of the reason why memory cannot be had
		state  string
		undone string
	}{
		"all processes of a container move to a leaf": {
			kernel: container("1", "17", "18"),
			have:   "memory cpu pids",
			state:  "/()[cpu io memory pids] /c()[memory cpu pids] /c/rpcpool-leaf(1 17 18)[]",
			undone: "/()[cpu io memory pids] /c(1 17 18)[]",
		},
		"some that fork meanwhile are moved, too": {
			kernel: container("1"),
			change: func(k *fakeKernel) {
				left := 3
				k.onMove = func(k *fakeKernel) {
					if left--; left >= 0 {
						k.groups["/c"].procs = append(k.groups["/c"].procs, strings.Repeat("2", left+1))
					}
				}
			},
			have:   "memory cpu pids",
			state:  "/()[cpu io memory pids] /c()[memory cpu pids] /c/rpcpool-leaf(1 222 22 2)[]",
			undone: "/()[cpu io memory pids] /c(1 222 22 2)[]",
		},
		"the root may hold processes": {
			kernel: &fakeKernel{groups: map[string]*fakeGroup{"/": {offered: []string{"memory"}, procs: []string{"1", "2"}}}},
			own:    "/",
			have:   "memory",
			state:  "/(1 2)[memory]",
			undone: "/(1 2)[]",
		},
		"what somebody has given before stays": {
			kernel: container("1"),
			change: func(k *fakeKernel) { k.groups["/c"] = &fakeGroup{kind: "domain", given: []string{"memory"}} },
			have:   "memory cpu pids",
			state:  "/()[cpu io memory pids] /c()[memory cpu pids]",
			undone: "/()[cpu io memory pids] /c()[memory]",
		},
		"a leaf of an earlier agent is used": {
			kernel: container(),
			change: func(k *fakeKernel) {
				k.groups["/c"].given = []string{"memory", "cpu", "pids"}
				k.groups["/c/rpcpool-leaf"] = &fakeGroup{kind: "domain", procs: []string{"1", "5"}}
			},
			own:    "/c/rpcpool-leaf",
			have:   "memory cpu pids",
			state:  "/()[cpu io memory pids] /c()[memory cpu pids] /c/rpcpool-leaf(1 5)[]",
			undone: "/()[cpu io memory pids] /c(1 5)[]",
		},
		"and is left to another agent that lives": {
			kernel: container(),
			change: func(k *fakeKernel) {
				k.groups["/c"].given = []string{"memory", "cpu", "pids"}
				k.groups["/c/rpcpool-leaf"] = &fakeGroup{kind: "domain", procs: []string{"1", "5"}}
				k.groups["/c/rpcpool-agent-5-9"] = &fakeGroup{kind: "domain"}
			},
			own:    "/c/rpcpool-leaf",
			have:   "memory cpu pids",
			state:  "/()[cpu io memory pids] /c()[memory cpu pids] /c/rpcpool-agent-5-9()[] /c/rpcpool-leaf(1 5)[]",
			undone: "/()[cpu io memory pids] /c()[memory cpu pids] /c/rpcpool-agent-5-9()[] /c/rpcpool-leaf(1 5)[]",
		},
		"a group without controllers is left alone": {
			kernel: container("1"),
			change: func(k *fakeKernel) { k.groups["/"].given = nil },
			lacks:  "not given to the agent's group",
			state:  "/()[] /c(1)[]",
		},
		"one controller that cannot be had": {
			kernel: container("1"),
			change: func(k *fakeKernel) { k.deny["write +memory /c/cgroup.subtree_control"] = syscall.EINVAL },
			have:   "cpu pids",
			lacks:  "invalid argument",
			state:  "/()[cpu io memory pids] /c()[cpu pids] /c/rpcpool-leaf(1)[]",
			undone: "/()[cpu io memory pids] /c(1)[]",
		},
		"a read-only file system": {
			kernel: container("1"),
			change: func(k *fakeKernel) { k.deny["write /c/cgroup.subtree_control"] = syscall.EROFS },
			lacks:  "read-only file system",
			state:  "/()[cpu io memory pids] /c(1)[]",
		},
		"no leaf can be made": {
			kernel: container("1"),
			change: func(k *fakeKernel) { k.deny["mkdir /c/rpcpool-leaf"] = syscall.EACCES },
			lacks:  "permission denied",
			state:  "/()[cpu io memory pids] /c(1)[]",
		},
		"one process cannot be moved: those that were go back": {
			kernel: container("1", "2", "3"),
			change: func(k *fakeKernel) { k.deny["write 3 /c/rpcpool-leaf/cgroup.procs"] = syscall.EPERM },
			lacks:  "operation not permitted",
			state:  "/()[cpu io memory pids] /c(3 1 2)[]",
		},
		"a process has no number here": {
			kernel: container("1", "0"),
			lacks:  "outside of the container",
			state:  "/()[cpu io memory pids] /c(0 1)[]",
		},
		"a threaded group": {
			kernel: container("1"),
			change: func(k *fakeKernel) { k.groups["/c"].kind = "domain threaded" },
			lacks:  "domain threaded",
			state:  "/()[cpu io memory pids] /c(1)[]",
		},
		"no end of forks": {
			kernel: container("1"),
			change: func(k *fakeKernel) {
				n := 0
				k.onMove = func(k *fakeKernel) {
					if n++; len(k.groups["/c/rpcpool-leaf"].procs) > 0 && n < 100 {
						k.groups["/c"].procs = append(k.groups["/c"].procs, strings.Repeat("9", n))
					}
				}
			},
			lacks: "fork faster",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.kernel)
			}
			own := c.own
			if own == "" {
				own = "/c"
			}
			d := delegate(c.kernel, own, []string{controlMemory, controlCPU, controlPids})
			if got := strings.Join(d.have, " "); got != c.have {
				t.Errorf("has %q, want %q; lacks %v", got, c.have, d.lacks)
			}
			if c.lacks != "" && !strings.Contains(d.lacks[controlMemory], c.lacks) {
				t.Errorf("no memory because of %q, want %q", d.lacks[controlMemory], c.lacks)
			}
			if got := c.kernel.state(); c.state != "" && got != c.state {
				t.Errorf("after it\n%s, want\n%s", got, c.state)
			}
			d.undo()
			if got := c.kernel.state(); c.undone != "" && got != c.undone {
				t.Errorf("undone\n%s, want\n%s", got, c.undone)
			}
		})
	}
}

func TestReasonsAreForPeople(t *testing.T) {
	wrapped := errors.Join(&os.PathError{Op: "open", Path: "/x", Err: syscall.EROFS})
	if got := reason(wrapped); got != "read-only file system" {
		t.Errorf("reason %q", got)
	}
	if got := reason(errors.New("plain")); got != "plain" {
		t.Errorf("reason %q", got)
	}
}
