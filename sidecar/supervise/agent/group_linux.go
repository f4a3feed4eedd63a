package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/internal/cgroup"
)

// group is the control groups of one worker: the same processes in every
// hierarchy. The nil group is none.
type group struct {
	dirs    []string // all
	unified string   // that of version 2; "": none
	memory  string   // that of the controller, if there is one; as are the others
	freezer string
	pids    string
	fd      int     // of the version 2 group, for the start; -1 afterwards
	entries []entry // to be written from inside, in their order
}

// groupAt is the group that stands at one directory, of whatever hierarchy.
func groupAt(dir string) *group {
	g := &group{dirs: []string{dir}, fd: -1}
	if _, err := os.Stat(filepath.Join(dir, "freezer.state")); err == nil {
		g.freezer = dir
	} else if _, err := os.Stat(filepath.Join(dir, "cgroup.events")); err == nil {
		g.unified = dir
	}
	return g
}

// descriptor is that of the version 2 group to start a process in; ok is false
// if there is none.
func (g *group) descriptor() (fd int, ok bool) {
	if g == nil {
		return -1, false
	}
	return g.fd, g.fd >= 0
}

// joins lists what a process is to write to enter the groups that it cannot be
// started in, from its main thread and with nothing between the last of it and
// its exec.
func (g *group) joins() []entry {
	if g == nil {
		return nil
	}
	return g.entries
}

// started gives up the descriptor that the start needed.
func (g *group) started() {
	if g != nil && g.fd >= 0 {
		_ = unix.Close(g.fd)
		g.fd = -1
	}
}

// populated tells whether processes live in the groups.
func (g *group) populated() bool {
	if g == nil {
		return false
	}
	for _, dir := range g.dirs {
		if dir != g.unified {
			if len(members(dir)) > 0 {
				return true
			}
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
		n, ok := cgroup.Counter(string(b), "populated")
		if err == nil && ok && n > 0 {
			return true
		}
	}
	return false
}

// remove removes the groups, which must not hold live processes; it kills what
// is there all the same, and gives the kernel a moment to let go of the dead.
func (g *group) remove() error {
	if g == nil {
		return nil
	}
	g.started()
	left := g.dirs
	var err error
	for pause := time.Millisecond; pause < 200*time.Millisecond; pause *= 2 {
		if left, err = removeGroups(left); len(left) == 0 {
			break
		}
		g.kill()
		time.Sleep(pause)
	}
	if err != nil {
		return fmt.Errorf("remove control group: %w", err)
	}
	return nil
}

// removeGroups removes groups and returns those that are busy.
func removeGroups(dirs []string) (busy []string, err error) {
	for _, dir := range dirs {
		e := syscall.Rmdir(dir)
		if e == nil || errors.Is(e, syscall.ENOENT) {
			continue
		}
		err = errors.Join(err, &os.PathError{Op: "rmdir", Path: dir, Err: e})
		if errors.Is(e, syscall.EBUSY) {
			busy = append(busy, dir)
		}
	}
	return busy, err
}
