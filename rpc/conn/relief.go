package conn

import (
	"errors"
	"sync/atomic"
	"time"
)

// What a message asks for may be done by the reader itself, when it has handled all that it
// has read: no goroutine is woken then. If it takes longer than was thought, another
// goroutine becomes the reader:
//
//	         Last            reliefTime, or twice that
//	reads ─────────▶ runs ───────────────────────────▶ relieved: ends with the run
//	  ▲               │                                      │
//	  └── it has ended ┘          another goroutine reads ◀──┘

// reliefTime is how long a reader may be away, at least, until it is relieved.
const reliefTime = time.Millisecond

// Last is what a reader does last, behind all that it has read.
type Last interface {
	// Run does it.
	Run()
	// Pass has it done by somebody else.
	Pass()
}

// crowdFor is how many rounds of one message it takes to believe, after one of several, that
// there is one caller: what many ask for is better done by many, and answered in one go.
const crowdFor = 32

var errRelieved = errors.New("another goroutine reads")

// relief looks after a reader that is away.
type relief struct {
	away  atomic.Uint64 // number of what the reader runs; 0: it reads
	last  atomic.Uint64 // number of what it has run last
	seen  atomic.Uint64 // last, when the timer looked
	armed atomic.Bool   // the timer runs
	timer *time.Timer   // the reader's
}

// Last lets the reader run something when it has handled all that it has read, or returns
// false: it has too much to do, or had a moment ago. It is for [Handler.Message] alone. What
// is run may take its time, but should mostly be done in a few microseconds.
func (c *Conn) Last(r Last) bool {
	if c.rd.got != 1 || c.rd.last != nil || c.rd.crowd > 0 || c.lend.role.Load() != roleResident {
		return false
	}
	c.rd.last = r
	return true
}

// pass has somebody else do what the reader was to do last.
func (rd *reader) pass() {
	if r := rd.last; r != nil {
		rd.last = nil
		r.Pass()
	}
}

// runLast runs what was left for the end. It returns false if the caller is the reader no
// more.
func (c *Conn) runLast() (reads bool) {
	f := &c.relief
	r, n := c.rd.last, f.last.Load()+1
	c.rd.last = nil
	f.last.Store(n)
	f.away.Store(n)
	c.guard()
	ended := false
	defer func() {
		reads = f.away.CompareAndSwap(n, 0)
		if reads && !ended { // runtime.Goexit
			go c.live()
		}
	}()
	r.Run()
	ended = true
	return false // what is deferred knows better
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
