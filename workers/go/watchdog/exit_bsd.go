//go:build unix && !linux

package watchdog

import "syscall"

const sysExit = syscall.SYS_EXIT
