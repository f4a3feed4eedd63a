package worker

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func quickAck(fd int) { _ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }

// totalMemory is the machine's memory in bytes.
func totalMemory() uint64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return unknownMemory
	}
	return uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // the field's width depends on the machine
}
