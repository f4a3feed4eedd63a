//go:build linux && (amd64 || arm64)

package matmul

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is the kernel's struct of that name on 64-bit Linux; zero is the
// default action.
type sigaction struct {
	handler, flags, restorer, mask uint64
}

// faults is held while the action of SIGSEGV is not Go's. The action is the
// process's, so the lock is, too.
var faults sync.Mutex

// withDefaultFault runs f while a memory fault is what it is for a native
// kernel: the end of the process by SIGSEGV. Go's own handler would print every
// goroutine's stack and exit with status 2, which a supervisor cannot tell from
// a program that gave up by itself. A fault anywhere else in the process is fatal,
// too, meanwhile.
func withDefaultFault(f func()) error {
	faults.Lock()
	defer faults.Unlock()
	var old sigaction
	if err := setAction(&sigaction{}, &old); err != nil {
		return err
	}
	f()
	return setAction(&old, nil)
}

func setAction(act, old *sigaction) error {
	//nolint:gosec // rt_sigaction takes pointers to two structs that outlive the call
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGSEGV),
		uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(act.mask), 0, 0)
	if errno != 0 {
		return fmt.Errorf("set action of SIGSEGV: %w", errno)
	}
	return nil
}
