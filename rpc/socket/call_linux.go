//go:build !race

package socket

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// try makes a system call of which the runtime does not hear. If it does, that takes longer than some
// calls, and where all its processors were idle it wakes its monitor: a thread that looks at what goes on
// fifty times, each time by a timer's interrupt.
func try(number uintptr, fd int, p []byte) (n int, err error) {
	got, _, errno := unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) //nolint:gosec // the slice is kept
	if errno != 0 {
		return 0, errno
	}
	return int(got), nil
}
