package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// leafName is the group into which the agent moves everything that is in its
// own group: version 2 gives controllers only to groups whose parent holds no
// processes. Agents that are started from there share it.
const leafName = "rpcpool-leaf"

// delegateRounds bounds the moving of processes that fork meanwhile.
const delegateRounds = 16

// groupFiles is the file system of a version 2 hierarchy.
type groupFiles interface {
	read(path string) (string, error)
	write(path, text string) error
	mkdir(path string) error // no error if it is there
	rmdir(path string) error
	list(path string) []string // names of directories
}

// delegation is a version 2 group below which groups can have controllers.
type delegation struct {
	files groupFiles
	base  string
	have  []string          // controllers that groups in base have
	given []string          // those of them that an agent has given them
	lacks map[string]string // why others do not, by controller
	leaf  bool              // processes were moved
}

// delegate sees to it that groups in own, the agent's group, or in its parent if
// own is a leaf of an earlier agent, can have as many of the controllers as
// possible. What it changes for that it undoes if it was for nothing.
func delegate(files groupFiles, own string, controllers []string) *delegation {
	base := delegationBase(own)
	d := &delegation{files: files, base: base, leaf: base != own, lacks: map[string]string{}}
	offered, err := d.words("cgroup.controllers")
	for _, c := range controllers {
		switch {
		case err != nil:
			d.lacks[c] = reason(err)
		case !slices.Contains(offered, c):
			d.lacks[c] = "it is not given to the agent's group"
		default:
			d.enable(c)
		}
	}
	if len(d.have) == 0 {
		d.undo()
	}
	return d
}

// delegationBase is the group for an agent's directories, by the agent's group.
func delegationBase(own string) string {
	if filepath.Base(own) == leafName {
		return filepath.Dir(own)
	}
	return own
}

// enable gives a controller to the groups in base.
func (d *delegation) enable(controller string) {
	err := d.give(controller)
	// Busy: there are processes in base. The root group may hold some.
	for range delegateRounds {
		if !errors.Is(err, syscall.EBUSY) {
			break
		}
		if err = d.move(); err == nil {
			err = d.give(controller)
		}
	}
	if err != nil {
		d.lacks[controller] = reason(err)
		return
	}
	d.have = append(d.have, controller)
}

// give gives a controller to the groups in base.
func (d *delegation) give(controller string) error {
	on, err := d.words("cgroup.subtree_control")
	if err == nil && slices.Contains(on, controller) {
		if d.leaf { // an earlier agent's doing
			d.given = append(d.given, controller)
		}
		return nil
	}
	if err = d.files.write(filepath.Join(d.base, "cgroup.subtree_control"), "+"+controller); err == nil {
		d.given = append(d.given, controller)
	}
	return err //nolint:wrapcheck // by reason
}

// move moves the processes that are in base into the leaf.
func (d *delegation) move() error {
	kind, err := d.words("cgroup.type")
	if err != nil {
		return err
	}
	if !slices.Equal(kind, []string{"domain"}) {
		return fmt.Errorf("the agent's group is %s", strings.Join(kind, " "))
	}
	leaf := filepath.Join(d.base, leafName)
	if err := d.files.mkdir(leaf); err != nil {
		return err //nolint:wrapcheck // by reason
	}
	d.leaf = true
	return d.transfer(d.base, leaf)
}

// transfer moves all processes from one group to another.
func (d *delegation) transfer(from, to string) error {
	for range delegateRounds {
		pids, err := d.files.read(filepath.Join(from, "cgroup.procs"))
		if err != nil || strings.TrimSpace(pids) == "" {
			return err //nolint:wrapcheck // by reason
		}
		for pid := range strings.FieldsSeq(pids) {
			if pid == "0" { // of another namespace: no name for it here
				return errors.New("a process from outside of the container is in the agent's group")
			}
			err := d.files.write(filepath.Join(to, "cgroup.procs"), pid)
			if err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("move process %s: %w", pid, err)
			}
		}
	}
	return errors.New("processes in the agent's group fork faster than they can be moved")
}

// undo takes the controllers away and moves the processes back, unless groups
// of other agents are there.
func (d *delegation) undo() {
	for _, name := range d.files.list(d.base) {
		if strings.HasPrefix(name, groupPrefix) {
			return
		}
	}
	for _, c := range d.given {
		_ = d.files.write(filepath.Join(d.base, "cgroup.subtree_control"), "-"+c)
	}
	d.have, d.given = nil, nil
	leaf := filepath.Join(d.base, leafName)
	if d.leaf && d.transfer(leaf, d.base) == nil {
		_ = d.files.rmdir(leaf)
	}
}

// words reads a file of base.
func (d *delegation) words(file string) ([]string, error) {
	text, err := d.files.read(filepath.Join(d.base, file))
	return strings.Fields(text), err //nolint:wrapcheck // by reason
}

// reason is an error for people who know neither the file nor the operation.
func reason(err error) string {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}
