// Package giveway lets short messages pass those who move many bytes. Who moves bytes without
// end never sleeps: its socket takes the next ones, or has them, before it asks. Meanwhile
// nobody looks what else has come, and a thread that was woken for it waits for the same
// processor, even if another one has nothing to do. So movers call [Step] between two pieces:
//
//	a message is unread    others that the network has something for run first, then other threads
//	there was one of late  other threads run first: they may be about to answer it
//	else                   the mover goes on; to have looked took less than a microsecond
//
// The processors are the process's, and so is what this package knows: each connection whose
// messages are short is in one epoll instance, which costs it nothing that can be measured.
package giveway

import (
	"sync/atomic"
	"syscall"
	"time"
)

// Piece is how many bytes are moved between two steps, at most: some 50 µs of work for one side.
const Piece = 128 << 10

// recent is how long after an unread message there may be more of them. Where others compute,
// who yields may lose the processor for a slice of some milliseconds: so nobody does without a reason.
const recent = 20 * time.Millisecond

// crossing is where movers meet short messages. Times are since its start.
type crossing struct {
	unread func() bool // somebody's message
	park   func()      // runs the goroutines that the network has something for
	yield  func()      // runs the threads that wait for this processor
	now    func() time.Duration

	busy atomic.Int64 // ns: there may be messages until then
}

func (c *crossing) step() {
	now := c.now()
	switch {
	case c.unread():
		c.busy.Store(int64(now + recent))
		c.park()
	case int64(now) >= c.busy.Load():
		return
	}
	c.yield()
}

// here is this process's; nil: there is none on this system.
var here = open()

// Watch counts a connection among those whose messages are short, until it is closed.
func Watch(raw syscall.RawConn) {
	if here != nil {
		here.watch(raw)
	}
}

// Step lets short messages pass if there are some. It is safe for concurrent use.
func Step() {
	if here != nil {
		here.step()
	}
}
