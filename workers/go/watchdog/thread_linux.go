//go:build amd64 || arm64

package watchdog

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// thread is the watchdog's thread where the kernel's system calls can be made
// without libc. It needs no descriptor: a session that closes all of them, and
// opens others in their place, does not touch it.
type thread struct{}

func (*thread) open() error { return nil }
func (*thread) close()      {}

// now is CLOCK_MONOTONIC in nanoseconds, which deadlines are in.
func (*thread) now() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // there is one
	return t.Nano()
}

// wake has the thread look at the deadline again.
func (*thread) wake(w *words) {
	w.changes.Add(1)
	_, _, _ = syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.changes)), futexWake, 1, 0, 0, 0) //nolint:gosec // a futex is known by its address
}

// await returns when the thread has left the scheduler's hands. The word that it
// waits for is the lower half of the deadline.
func (*thread) await(w *words) {
	for w.deadline.Load() == starting {
		const low = starting & (1<<32 - 1)
		_, _, _ = syscall.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.deadline)), futexWait, low, 0, 0, futexAny) //nolint:gosec // a futex is known by its address
	}
}

// Operations of futex(2). FUTEX_WAIT_BITSET is the one that takes the time as a
// point of CLOCK_MONOTONIC. The assembly uses them, too.
const (
	futexPrivate = 128
	futexWake    = 1 | futexPrivate
	futexWait    = 9 | futexPrivate
	futexAny     = 0xffffffff
)

// run is the thread.
func (w *Watchdog) run() {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	defer close(w.ended)
	hurry()
	watch(w.words)
}

// hurry asks the kernel for short turns, which then come soon: a thread that
// wakes up on CPUs that others fill is let in before theirs are over. Kernels
// before 6.12 know no such wish; nothing else depends on it.
func hurry() {
	const turn = 100_000 // nanoseconds, the shortest there is
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Runtime: turn}, 0)
}

// The runtime lets other packages use these two: gVisor waits in the same way,
// and for the same reason.
//
//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// watch waits until the watchdog fires or is closed. All of it is, for the Go
// runtime, one system call: the thread has no P and wants none, so neither the
// scheduler nor a world that was stopped can hold it up. What comes between the
// two calls is assembly, in which neither the race detector nor a coverage
// counter, which both need a P, can be.
//
//go:nosplit
//go:norace
//go:noinline
func watch(w *words) {
	deadline, changes := (*int64)(unsafe.Pointer(&w.deadline)), (*uint32)(unsafe.Pointer(&w.changes)) //nolint:gosec // assembly has no sync/atomic
	entersyscall()
	wait(deadline, changes)
	exitsyscall()
}

// wait says that the thread is up, by making deadline disarmed; then it sleeps
// until the deadline, and looks again whenever changes moves. At the deadline it
// makes deadline fired and exits. It returns when deadline is closed.
//
//go:noescape
func wait(deadline *int64, changes *uint32)
