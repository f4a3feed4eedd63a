//go:build linux

package proc

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ChildAttr makes a child die with us, in whatever way we die.
func ChildAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// AdoptOrphans makes us the parent of every descendant that loses its own: what
// a program that we started leaves behind is then seen, counted and killed.
func AdoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	return nil
}

// Reap removes the zombie of an adopted process, if it is one.
func Reap(pid int) {
	var status syscall.WaitStatus
	_, _ = syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
}

// Ended returns a child that has ended and that nobody has reaped; 0 if there is
// none.
func Ended() int {
	var info struct { // the kernel's siginfo_t of 128 bytes, where pointers have 8
		_   [4]int32
		pid int32
		_   [27]int32
	}
	const flags = unix.WEXITED | unix.WNOHANG | unix.WNOWAIT
	_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0,
		uintptr(unsafe.Pointer(&info)), flags, 0, 0) //nolint:gosec // the kernel writes it during the call
	if errno != 0 {
		return 0
	}
	return int(info.pid)
}

// RaiseFileLimit raises the number of descriptors that this process and its
// children may have to what the system allows, and returns it.
func RaiseFileLimit() (int, error) {
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

// KernelVersion returns the kernel's version without what its builder added.
func KernelVersion() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(release)), "-")
	return version
}
