package misbehave

import (
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"rpcpool.dev/workers/go/internal/stall"
)

func misbehaving() map[string]any {
	return map[string]any{
		"test.segfault":       func() { dieBy(unix.SIGSEGV, readNull) },
		"test.illegal":        func() { dieBy(unix.SIGILL, illegal) },
		"test.abort":          func() { dieBy(unix.SIGABRT, func() { raise(unix.SIGABRT) }) },
		"test.exit":           os.Exit,
		"test.exit0":          func() { os.Exit(0) },
		"test.exit_thread":    exitThread,
		"test.panic":          panicElsewhere,
		"test.stackoverflow":  overflowStack,
		"test.deadlock":       func() { select {} },
		"test.spin":           spin,
		"test.ignore_sigterm": func() { signal.Ignore(unix.SIGTERM); spin() },
		"test.sigstop":        stop,
		"test.hog":            new(hog).grow,
		"test.leakfd":         leakDescriptors,
		"test.closefds":       closeDescriptors,
		"test.garbage":        writeGarbage,
		"test.grandchildren":  grandchildren,
		"test.forkbomb":       forkBomb,
		"test.gc_stall":       func() { stall.World(max(1, runtime.GOMAXPROCS(0)-1)) },
	}
}

// illegal executes an instruction that no CPU has.
func illegal()

// readNull reads address 0.
func readNull() { sink(*(*byte)(unsafe.Pointer(nil))) } //nolint:gosec // the crash is the purpose

//go:noinline
func sink(byte) {}

// dieBy has the kernel end the process by sig when fault happens, as it ends a
// program in C. The Go runtime has a handler for it that would exit with
// status 2 instead.
func dieBy(sig syscall.Signal, fault func()) {
	runtime.LockOSThread()
	defaultAction(sig)
	fault()
	raise(sig) // in case the fault did not happen
}

// defaultAction gives sig its default action behind the runtime's back.
func defaultAction(sig syscall.Signal) {
	// The kernel's struct sigaction on every architecture: all zero is SIG_DFL.
	var action [64]byte
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION,
		uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0) //nolint:gosec // the kernel reads it during the call
	if errno != 0 {
		panic("rt_sigaction: " + errno.Error())
	}
}

// raise sends sig to the calling thread, as C's raise and abort do.
func raise(sig syscall.Signal) { _ = unix.Tgkill(os.Getpid(), unix.Gettid(), sig) }

// stop stops the process before the next instruction of its caller. Sent to the process and
// not to this thread, the signal could find another one first, and the session would go on
// until that is scheduled.
func stop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	raise(unix.SIGSTOP)
}

func exitThread(n int) {
	go os.Exit(n)
	select {}
}

func panicElsewhere() {
	go panic("test.panic was called")
	select {}
}

// overflowStack lowers the limit of 1 GiB first, to need little memory for what
// it shows.
func overflowStack() int {
	debug.SetMaxStack(64 << 20)
	return recurse(0)
}

//go:noinline
func recurse(n int) int { return recurse(n+1) + len(strconv.Itoa(n)) } //nolint:staticcheck // endless on purpose

func spin() {
	for i := uint(0); ; i++ {
		if i == ^uint(0) {
			runtime.Gosched()
		}
	}
}

// hog is memory that is kept.
type hog struct{ kept [][]byte }

// grow allocates and touches n bytes and returns how many it holds in all.
func (h *hog) grow(n int64) (int64, error) {
	const page = 4 << 10
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return 0, err
	}
	for i := 0; i < len(b); i += page {
		b[i] = 1
	}
	h.kept = append(h.kept, b)
	var total int64
	for _, b := range h.kept {
		total += int64(len(b))
	}
	return total, nil
}

func leakDescriptors(n int) error {
	for range n {
		if _, err := unix.Open("/dev/null", unix.O_RDONLY, 0); err != nil {
			return err
		}
	}
	return nil
}

func closeDescriptors() {
	for _, fd := range openDescriptors() {
		if fd > unix.Stderr {
			_ = unix.Close(fd)
		}
	}
}

// writeGarbage writes to every connected stream socket what is no packet.
func writeGarbage() {
	garbage := []byte("\xff\xff\xff\xff\xff\xff\xff\x7fthis is no packet\x00\xde\xad\xbe\xef")
	for _, fd := range openDescriptors() {
		if _, err := unix.Getpeername(fd); err == nil {
			_, _ = unix.Write(fd, garbage)
		}
	}
}
