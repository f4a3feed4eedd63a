package watchdog

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// backstop is a timer of the kernel's that kills the process. It is not
// inherited by children, and gone if the process executes another program.
type backstop struct{ id int32 }

// sigevent is the kernel's struct sigevent: 64 bytes, a few more here.
type sigevent struct {
	value  uintptr
	signal int32
	notify int32 // SIGEV_SIGNAL is 0: the signal is the process's
	_      [56]byte
}

func (b *backstop) open() error {
	event := sigevent{signal: int32(unix.SIGKILL)}
	_, _, errno := syscall.RawSyscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC,
		uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&b.id))) //nolint:gosec // the kernel reads and writes them during the call
	if errno != 0 {
		return os.NewSyscallError("timer_create", errno)
	}
	return nil
}

// arm has the process killed after the given time, in place of what was armed
// before.
func (b *backstop) arm(after time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(after))}
	_, _, errno := syscall.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(b.id), 0,
		uintptr(unsafe.Pointer(&spec)), 0, 0, 0) //nolint:gosec // the kernel reads it during the call
	if errno != 0 {
		return os.NewSyscallError("timer_settime", errno)
	}
	return nil
}

func (b *backstop) disarm() { _ = b.arm(0) }

func (b *backstop) close() { _, _, _ = syscall.RawSyscall(unix.SYS_TIMER_DELETE, uintptr(b.id), 0, 0) }
