package supervise

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTurnsAreShortUntilTheyAreTheUsualAgain(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := turn(t)
	ShortTurns()
	if got := turn(t); got != shortTurn {
		t.Skipf("this kernel knows no turns (%d ns after asking for %d): Linux 6.12 does", got, shortTurn)
	}
	made := make(chan uint64)
	go func() {
		runtime.LockOSThread() // never unlocked: a thread of its own, which ends
		made <- turn(t)
	}()
	if got := <-made; got != shortTurn {
		t.Errorf("a thread that was made later has turns of %d ns", got)
	}
	UsualTurns()
	if got := turn(t); got != before {
		t.Errorf("turns of %d ns, %d before", got, before)
	}
}

func turn(t *testing.T) uint64 {
	attr, err := unix.SchedGetAttr(0, 0)
	if errors.Is(err, unix.ENOSYS) {
		t.Skip("this kernel has no sched_getattr")
	}
	if err != nil {
		t.Error(err)
		return 0
	}
	return attr.Runtime
}
