//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttr makes a child die with us, in whatever way we die.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// adoptOrphans makes us the parent of every descendant that loses its own: what
// a program that we started leaves behind is then seen, counted and killed.
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	return nil
}

// reapOrphan removes the zombie of an adopted process, if it is one.
func reapOrphan(pid int) {
	var status syscall.WaitStatus
	_, _ = syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
}

// raiseFileLimit raises the number of descriptors that this process and its
// children may have to what the system allows, and returns it.
func raiseFileLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of descriptors: %w", err)
	}
	limit.Cur = limit.Max
	// Through package syscall, so that os/exec does not give children the old one.
	err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit.Cur, Max: limit.Max})
	if err != nil {
		return 0, fmt.Errorf("raise the limit of descriptors: %w", err)
	}
	return int(min(limit.Cur, 1<<30)), nil
}

// kernelVersion returns the kernel's version without what its builder added.
func kernelVersion() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(release)), "-")
	return version
}
