//go:build !(linux && (amd64 || arm64))

package watchdog

import (
	"math"
	"runtime"
	"time"
)

// thread is the watchdog's thread where waiting and exiting are calls of a
// library: between the two it needs a turn of the scheduler.
type thread struct {
	sleeper
	began time.Time
	runs  chan struct{} // closed when it does
}

func (t *thread) open() error {
	t.began, t.runs = time.Now(), make(chan struct{})
	return t.sleeper.open()
}

// now is the time since the watchdog was made, in nanoseconds of the monotonic
// clock.
func (t *thread) now() int64 { return int64(time.Since(t.began)) }

// wake has the thread look at the deadline again.
func (t *thread) wake(w *words) {
	w.changes.Add(1)
	t.rouse()
}

// await returns when the thread runs.
func (t *thread) await(*words) { <-t.runs }

// run is the thread.
func (w *Watchdog) run() {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	defer close(w.ended)
	w.words.deadline.CompareAndSwap(starting, disarmed)
	close(w.thread.runs)
	for {
		until := w.words.deadline.Load()
		left := until - w.thread.now()
		switch {
		case until == closed:
			return
		case until < 0:
			w.thread.sleep(forever)
		case left > 0:
			// In whole milliseconds, upwards: never early.
			w.thread.sleep(int(min((left+1e6-1)/1e6, math.MaxInt32)))
		case w.words.deadline.CompareAndSwap(until, fired):
			exit()
		}
	}
}

const forever = -1 // milliseconds
