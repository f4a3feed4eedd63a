package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// world is virtual time: what happens next, and chance.
type world struct {
	now   time.Duration
	rng   *rand.Rand
	queue []event // a heap
	n     uint64  // events so far: an order among all that happens
	trace io.Writer
	calm  bool // no more faults

	schedule Schedule
	often    [faults]int // how much more often than usual they happen; 0: never
}

// event is something that happens. Events of the same time happen in the order in
// which they were planned.
type event struct {
	at time.Duration
	n  uint64
	do func()
}

func (e *event) before(other *event) bool {
	return e.at < other.at || e.at == other.at && e.n < other.n
}

func newWorld(s Schedule, trace io.Writer) *world {
	pcg := rand.NewPCG(s.Seed, 0x9e3779b97f4a7c15)
	w := &world{rng: rand.New(pcg), trace: trace, schedule: s} //nolint:gosec // a seed is to give the same numbers again
	for f := range w.often {
		w.often[f] = []int{0, 1, 1, 1, 1, 5}[w.rng.IntN(6)]
	}
	w.queue = make([]event, 0, 256)
	return w
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now+d, do) }

func (w *world) at(t time.Duration, do func()) {
	w.n++
	w.queue = append(w.queue, event{max(t, w.now), w.n, do})
	q := w.queue
	for i := len(q) - 1; i > 0; {
		up := (i - 1) / 2
		if !q[i].before(&q[up]) {
			return
		}
		q[i], q[up] = q[up], q[i]
		i = up
	}
}

// step lets the next event happen, if there is one until end.
func (w *world) step(end time.Duration) bool {
	if len(w.queue) == 0 || w.queue[0].at > end {
		return false
	}
	e := w.queue[0]
	last := len(w.queue) - 1
	w.queue[0] = w.queue[last]
	w.queue[last] = event{}
	w.queue = w.queue[:last]
	w.sink()
	w.now = e.at
	w.n++
	e.do()
	return true
}

func (w *world) sink() {
	q := w.queue
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(q) {
			return
		}
		if r := down + 1; r < len(q) && q[r].before(&q[down]) {
			down = r
		}
		if !q[down].before(&q[i]) {
			return
		}
		q[i], q[down] = q[down], q[i]
		i = down
	}
}

// fault is true once in n times in most schedules. In some that kind of fault is
// frequent, in some there is none: so each comes with any of the others, and alone.
// It takes as much of chance if there is none.
func (w *world) fault(f Fault, n int) bool {
	return w.one(max(1, n/max(1, w.often[f]))) && w.often[f] > 0 && !w.calm && w.schedule.Without&(1<<f) == 0
}

func (w *world) one(n int) bool { return w.rng.IntN(n) == 0 }

func (w *world) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}

func (w *world) logf(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%12s %6d  %s\n", w.now, w.n, fmt.Sprintf(format, args...))
	}
}

// clock is a node's monotonic clock: it started at any time, and is a little fast
// or slow.
type clock struct {
	w      *world
	origin time.Duration
	ppm    int64 // parts in a million that it is fast
}

func (w *world) clock() clock {
	return clock{w, w.between(time.Second, time.Hour), w.rng.Int64N(401) - 200}
}

func (c clock) now() time.Duration { return c.origin + c.w.now + c.fast(c.w.now) }

// fast is by how much the clock is ahead after t.
func (c clock) fast(t time.Duration) time.Duration {
	return time.Duration(int64(t) * c.ppm / 1e6)
}

// until is the world's time in which the clock shows t.
func (c clock) until(t time.Duration) time.Duration {
	t -= c.origin
	return t - c.fast(t) + time.Microsecond
}

// node is a process that may be stopped for a while: what reaches it waits.
type node struct {
	w       *world
	stopped time.Duration // until then
}

// when lets something happen to a node after d, or when it is let go on.
func (n *node) when(d time.Duration, do func()) {
	n.w.after(d, func() { n.awake(do) })
}

func (n *node) awake(do func()) {
	if n.w.now < n.stopped {
		n.w.at(n.stopped, func() { n.awake(do) })
		return
	}
	do()
}
