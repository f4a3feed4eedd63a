package agent

import "golang.org/x/sys/unix"

// duplicateFD returns a copy of a descriptor, -1 of none.
func duplicateFD(fd int) int {
	if fd < 0 {
		return -1
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return dup
}

// closeFD closes a descriptor; -1 is none.
func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}
