package supervise

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// shortTurn is the shortest turn on a CPU that the kernel gives, in nanoseconds.
const shortTurn = 100_000

// ShortTurns asks the kernel for short turns on the CPU for all threads of this
// process, and those that they make: who asks for short ones is let in sooner
// when it wakes up on CPUs that others fill, and gets no more of them in all. A
// supervisor works for microseconds at a time, and then it matters when. Best
// effort: kernels before 6.12 know no such wish. Children inherit it, until
// [UsualTurns].
func ShortTurns() { shortTurnsOf("self") }

// HurryUp asks for the same for a process that is to end: each of its threads
// has to run for a moment to do so.
func HurryUp(pid int) { shortTurnsOf(strconv.Itoa(pid)) }

func shortTurnsOf(process string) {
	entries, err := os.ReadDir("/proc/" + process + "/task")
	if err != nil {
		return
	}
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			setTurns(tid, shortTurn)
		}
	}
}

// UsualTurns takes [ShortTurns] back for the calling thread.
func UsualTurns() { setTurns(0, 0) }

func setTurns(tid int, turn uint64) {
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	if err != nil {
		return
	}
	const lowest = 20 // getpriority counts from the other end, so that no value is an error
	_ = unix.SchedSetAttr(tid, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: int32(lowest - nice), Runtime: turn,
	}, 0)
}
