package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openUnified makes the agent's directory in the version 2 hierarchy and gets
// controllers for it, if possible. killable tells whether the kernel has
// cgroup.kill (Linux 5.14).
func (g *groups) openUnified(all cgroups, name string, proc *procfs) (killable bool, err error) {
	own, ok := all.dir("")
	if !ok {
		return false, errors.New("no version 2 control group is mounted")
	}
	// One agent at a time: the moving of processes is no place for a race.
	defer lockGroup(delegationBase(own))()
	controllers := []string{controlMemory, controlCPU, controlPids}
	g.delegation = delegate(kernelGroups{}, own, controllers)
	removeDeadGroups(g.delegation.base, proc)
	dir := filepath.Join(g.delegation.base, name)
	if err := makeGroup(dir); err != nil {
		g.delegation.undo()
		g.delegation = nil
		for _, c := range controllers {
			g.lack(c, err)
		}
		return false, err
	}
	g.dir, g.into = dir, startsInGroups()
	inner := delegate(kernelGroups{}, dir, g.delegation.have)
	for _, c := range inner.have {
		g.controllers[c] = dir
	}
	for _, from := range []*delegation{g.delegation, inner} {
		for c, why := range from.lacks {
			g.lack(c, errors.New(why))
		}
	}
	_, err = os.Stat(filepath.Join(dir, "cgroup.kill"))
	return err == nil, nil
}

// startsInGroups tells whether clone3 can start a process in a group (Linux
// 5.7, and no filter of system calls in the way): then it looks at the
// descriptor, which is none.
func startsInGroups() bool {
	const none = 1<<31 - 1
	args := struct {
		flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
	}{flags: unix.CLONE_INTO_CGROUP, exitSignal: uint64(unix.SIGCHLD), cgroup: none}
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0) //nolint:gosec // as clone3 has it
	return errno == unix.EBADF
}

// lockGroup keeps other agents from changing a group's processes and
// controllers, best effort, until unlock is called.
func lockGroup(dir string) (unlock func()) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	_ = unix.Flock(fd, unix.LOCK_EX)
	return func() { _ = unix.Close(fd) }
}

// kernelGroups is the real [groupFiles].
type kernelGroups struct{}

func (kernelGroups) read(path string) (string, error) {
	b, err := os.ReadFile(path)
	return string(b), err //nolint:wrapcheck // says what and where
}

func (kernelGroups) write(path, text string) error {
	return os.WriteFile(path, []byte(text), 0) //nolint:wrapcheck // says what and where
}

func (kernelGroups) mkdir(path string) error { return makeGroup(path) }

func (kernelGroups) rmdir(path string) error {
	return unix.Rmdir(path) //nolint:wrapcheck // best effort
}

func (kernelGroups) list(path string) (names []string) {
	entries, _ := os.ReadDir(path)
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// unified makes a worker's group in the version 2 hierarchy.
func (b *builder) unified() {
	if b.groups.dir == "" {
		return
	}
	dir, err := b.make(b.groups.dir)
	if err != nil {
		b.errs = append(b.errs, err)
		for c, at := range b.groups.controllers {
			if at == b.groups.dir {
				b.groups.lack(c, err)
			}
		}
		return
	}
	b.group.unified = dir
	for c, at := range b.groups.controllers {
		if at == b.groups.dir {
			b.set(c, dir, true)
		}
	}
	if b.groups.into {
		if b.group.fd, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			return
		}
		b.errs = append(b.errs, fmt.Errorf("open control group: %w", err))
	}
	b.group.entries = append(b.group.entries, entry{File: filepath.Join(dir, "cgroup.procs"), Text: "0"})
}
