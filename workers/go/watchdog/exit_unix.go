//go:build unix && !(linux && (amd64 || arm64))

package watchdog

import "syscall"

// exit is _exit(2): the kernel's, for every thread, without atexit.
func exit() {
	for {
		_, _, _ = syscall.RawSyscall(sysExit, 0, 0, 0)
	}
}
