package conn

import (
	"errors"
	"sync/atomic"
	"time"
)

// What messages ask for may be done by the reader itself, one after the other, when it has
// handled all that it has read: no goroutine is woken then, and what they send is written at
// once. If one takes longer than was thought, another goroutine becomes the reader, and the
// others are passed on:
//
//	         Last              reliefTime, or twice that
//	reads ─────────▶ runs 1…n ───────────────────────────▶ relieved: ends with the run
//	  ▲               │                                      │
//	  └─ all have ended ┘         another goroutine reads ◀──┘  and passes the rest on

const (
	// reliefTime is how long one run may take, at least, until the reader is relieved.
	reliefTime = time.Millisecond
	// lastTime is how long all that a reader runs in one round may be expected to take: what
	// is more is done by others, maybe at the same time.
	lastTime = 50 * time.Microsecond
)

// Last is what a reader does last, behind all that it has read.
type Last interface {
	// Run does it.
	Run()
	// Pass has it done by somebody else.
	Pass()
}

var errRelieved = errors.New("another goroutine reads")

// lasts are what a reader runs at the end of a round.
type lasts struct {
	all  []Last
	cost time.Duration // as expected
}

// relief looks after a reader that is away. Who takes the number away from it has its lasts.
type relief struct {
	away  atomic.Uint64 // number of what the reader runs; 0: it reads
	last  atomic.Uint64 // number of what it ran last
	seen  atomic.Uint64 // last, when the timer looked
	armed atomic.Bool   // the timer runs
	timer *time.Timer   // the reader's
	run   []Last        // what it runs
	first uint64        // number of the first of them
}

// Last lets the reader run something when it has handled all that it has read, or returns
// false: it has too much to do. It is for [Handler.Message] alone. cost is how long the run
// is expected to take: it may take its time, but should mostly be done in a few microseconds.
// What it sends may be queued ([Conn.Queue]): it is written when all has been run, or when one run
// takes long.
func (c *Conn) Last(r Last, cost time.Duration) bool {
	l := &c.rd.last
	if l.cost += cost; l.cost > lastTime && len(l.all) > 0 || c.lend.role.Load() != roleResident {
		l.cost -= cost
		return false
	}
	l.all = append(l.all, r)
	return true
}

// LastAlone is Last for what mostly waits: it is refused if there are other callers, who
// would wait with it.
func (c *Conn) LastAlone(r Last) bool {
	return c.rd.crowd.rounds == 0 && c.rd.got <= 1 && len(c.rd.last.all) == 0 && c.Last(r, lastTime)
}

// pass has others do what the reader was to do last.
func (rd *reader) pass() {
	for _, r := range rd.last.take() {
		r.Pass()
	}
}

// take empties the list. What it returns is good until the next is added.
func (l *lasts) take() []Last {
	all := l.all
	l.all, l.cost = all[:0], 0
	return all
}

// runLast runs what was left for the end. It returns false if the caller is the reader no
// more.
func (c *Conn) runLast() (reads bool) {
	f := &c.relief
	n := f.last.Load() + 1
	f.run, f.first = c.rd.last.take(), n
	all, ended := f.run, false
	f.last.Store(n)
	f.away.Store(n)
	c.guard()
	defer func() {
		switch reads = f.away.CompareAndSwap(n, 0); {
		case reads && ended:
			clear(all)
		case reads: // runtime.Goexit
			c.passRest(n)
			go c.live()
		}
		c.snd.flush()
	}()
	for i := range all {
		if i > 0 {
			if !f.away.CompareAndSwap(n, n+1) {
				break
			}
			n++
			f.last.Store(n)
		}
		all[i].Run()
	}
	ended = true
	return false // what is deferred knows better
}

// passRest passes on what is behind the n-th. The caller has taken that away from who runs it,
// and so is the reader, with a list of its own: who was it may be about to look at the old one.
func (c *Conn) passRest(n uint64) {
	c.rd.last = lasts{}
	for _, r := range c.relief.run[n-c.relief.first+1:] {
		r.Pass()
	}
}

// guard sees to it that the timer runs.
func (c *Conn) guard() {
	f := &c.relief
	if !f.armed.CompareAndSwap(false, true) {
		return
	}
	if f.timer == nil {
		f.timer = time.AfterFunc(time.Hour, c.relieve) // which needs it
	}
	f.timer.Reset(reliefTime)
}

// relieve looks whether the reader has been away for long. It stops looking when nothing was
// run meanwhile.
func (c *Conn) relieve() {
	f := &c.relief
	n, last := f.away.Load(), f.last.Load()
	switch seen := f.seen.Swap(last); {
	case n != 0 && n == seen && f.away.CompareAndSwap(n, 0):
		f.armed.Store(false)
		c.passRest(n)
		c.snd.flush()
		c.live()
	case last != seen:
		f.timer.Reset(reliefTime)
	default:
		f.armed.Store(false)
		if f.away.Load() != 0 && f.armed.CompareAndSwap(false, true) {
			f.timer.Reset(reliefTime)
		}
	}
}
