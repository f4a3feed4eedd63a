package watchdog

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultGrace is how long after the deadline the backstop comes: longer than
// a thread waits for a CPU on a machine that is busy, and short beside the
// 50 ms within which a session's end is wanted.
const DefaultGrace = 25 * time.Millisecond

// Options of a watchdog; the zero value is complete.
type Options struct {
	// Grace is the time from the deadline to the backstop; 0: [DefaultGrace].
	Grace time.Duration
}

// ErrClosed is returned by Start after Close.
var ErrClosed = errors.New("watchdog is closed")

// Values of words.deadline that are no time.
const (
	disarmed = -1 - iota
	fired
	closed
	starting
)

// words is what the callers and the thread share. Who changes deadline from one
// value to another has won: a watchdog that fired cannot be stopped any more,
// and one that was stopped does not fire.
type words struct {
	deadline atomic.Int64  // nanoseconds of now's clock, or a value above
	changes  atomic.Uint32 // moves when the thread is to look at deadline again
}

// Watchdog ends the process at a deadline. Its methods may be called by several
// goroutines at a time; the last call counts.
type Watchdog struct {
	grace    time.Duration
	mu       sync.Mutex // orders calls, so that thread and backstop agree
	words    *words
	thread   thread
	backstop backstop
	ended    chan struct{} // closed when the thread has left
}

// New starts a watchdog's thread, disarmed, and returns when it is in its place:
// a thread that has yet to come up could be starved. An error says that the system has
// no timer, no pipe or no event left for it.
func New(o Options) (*Watchdog, error) {
	w := &Watchdog{grace: o.Grace, words: new(words), ended: make(chan struct{})}
	if w.grace <= 0 {
		w.grace = DefaultGrace
	}
	w.words.deadline.Store(starting)
	if err := w.backstop.open(); err != nil {
		return nil, fmt.Errorf("watchdog: backstop: %w", err)
	}
	if err := w.thread.open(); err != nil {
		w.backstop.close()
		return nil, fmt.Errorf("watchdog: thread: %w", err)
	}
	go w.run()
	w.thread.await(w.words)
	return w, nil
}

// Start arms the watchdog (startTimeout in TVM's words): unless Stop or another
// Start comes first, the process ends after timeout. If that is zero or less it
// ends now. An error says that the watchdog is closed, or on Windows that its
// backstop could not be armed; it is not armed then.
func (w *Watchdog) Start(timeout time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.words.deadline.Load() == closed {
		return ErrClosed
	}
	deadline := after(w.thread.now(), timeout)
	if err := w.backstop.arm(time.Duration(after(int64(w.grace), timeout))); err != nil {
		w.change(disarmed)
		return fmt.Errorf("watchdog: arm the backstop: %w", err)
	}
	w.change(deadline)
	w.thread.wake(w.words)
	return nil
}

// after is t + d in nanoseconds; no deadline is further away than the clock
// counts.
func after(t int64, d time.Duration) int64 {
	if d > 0 && t > math.MaxInt64-int64(d) {
		return math.MaxInt64
	}
	return t + int64(max(d, 0))
}

// Stop disarms the watchdog (finishTimeout in TVM's words). When it returns the
// watchdog cannot fire any more; if it is firing already, Stop does not return.
// The thread is not woken for it: it sleeps until its time and then sees.
func (w *Watchdog) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.words.deadline.Load() == closed {
		return
	}
	w.change(disarmed)
	w.backstop.disarm()
}

// Close disarms the watchdog and ends its thread. Calls after the first do
// nothing.
func (w *Watchdog) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.words.deadline.Load() == closed {
		return
	}
	w.change(closed)
	w.backstop.close()
	w.thread.wake(w.words)
	<-w.ended
	w.thread.close()
}

// change sets the deadline, or never returns if the process is ending.
func (w *Watchdog) change(to int64) {
	for {
		old := w.words.deadline.Load()
		if old == fired {
			select {} // the thread is on its way to exit, with no turn of ours needed
		}
		if w.words.deadline.CompareAndSwap(old, to) {
			return
		}
	}
}
