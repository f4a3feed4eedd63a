package watchdog

import (
	"math"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// backstop is a timer of the default timer queue whose callback is ExitProcess
// itself: a thread of the system's pool calls it with its parameter, 0, as the
// exit code, and no Go code runs.
type backstop struct {
	timer                    windows.Handle // 0: not armed
	create, remove, callback *windows.LazyProc
}

func (b *backstop) open() error {
	kernel := windows.NewLazySystemDLL("kernel32.dll")
	b.create = kernel.NewProc("CreateTimerQueueTimer")
	b.remove = kernel.NewProc("DeleteTimerQueueTimer")
	b.callback = kernel.NewProc("ExitProcess")
	for _, p := range []*windows.LazyProc{b.create, b.remove, b.callback} {
		if err := p.Find(); err != nil {
			return err
		}
	}
	return nil
}

// arm has the process ended after the given time, in place of what was armed
// before.
func (b *backstop) arm(after time.Duration) error {
	const executeOnlyOnce = 8 // WT_EXECUTEONLYONCE
	b.disarm()
	ms := after.Milliseconds() + 1
	if ms >= math.MaxUint32 {
		return nil // in seven weeks, which is for the thread alone
	}
	ok, _, err := b.create.Call(uintptr(unsafe.Pointer(&b.timer)), 0, b.callback.Addr(), 0, //nolint:gosec // the system writes it during the call
		uintptr(ms), 0, executeOnlyOnce)
	if ok == 0 {
		return os.NewSyscallError("CreateTimerQueueTimer", err)
	}
	return nil
}

// disarm returns when the callback can no longer be called.
func (b *backstop) disarm() {
	if b.timer == 0 {
		return
	}
	_, _, _ = b.remove.Call(0, uintptr(b.timer), uintptr(windows.InvalidHandle))
	b.timer = 0
}

func (b *backstop) close() { b.disarm() }
