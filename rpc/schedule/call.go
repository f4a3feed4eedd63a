package schedule

import (
	"time"

	"rpcpool.dev/internal/fifo"
)

// Priority of a call. The numbers are those on the wire.
type Priority uint8

// Priorities, the most urgent first.
const (
	Interactive Priority = iota + 1
	Normal
	Bulk

	priorities = int(Bulk)
)

// prices are what a microsecond of a slot costs each priority.
var prices = [priorities]int64{1, 2, 8}

// weights are the shares that follow from the prices.
var weights = [priorities]int64{8, 4, 1}

type state uint8

const (
	idle    state = iota // not in the queue
	waiting              // for its turn
	inner                // waits to run under another
	late                 // its deadline had passed when its turn came
	running
)

// Call is one call, and its place in the [Queue]. What is exported is its caller's to
// set before Push, and not to be changed until it is out of the queue again.
type Call struct {
	Tag      any // the caller's own
	Client   [16]byte
	Method   uint32
	Priority Priority      // 0: what its method has
	Deadline time.Duration // on the server's clock; 0: none
	Bytes    int           // that it keeps in memory
	Under    *Call         // the call that it is made for, which runs here; nil: none

	method   *method
	list     *fifo.List[*Call] // that node is in
	node     fifo.Node[*Call]
	age      fifo.Node[*Call] // in lane.ages
	strand   *strand          // while it is waiting
	arrived  time.Duration
	began    time.Duration
	expected time.Duration // how long it was expected to take; 0: not known
	paid     int64
	state    state
	class    uint8 // priority, from 0
	holds    bool  // one of its gate's

	depth   int
	above   *Call            // the running call that it runs under
	below   *Call            // the running call that runs under it
	waiters fifo.List[*Call] // that are to run under it
	offered *Call            // the first of them, once it waits for nothing but its gate
}

func (c *Call) gate() *gate { return c.method.gate }

// join puts a call in a list.
func (c *Call) join(l *fifo.List[*Call]) {
	c.list = l
	l.PushBack(&c.node)
}

// quit takes it out again.
func (c *Call) quit() {
	c.list.Remove(&c.node)
	c.list = nil
}

// release gives a call back to its caller.
func (c *Call) release() {
	c.state, c.method, c.strand, c.Under, c.depth = idle, nil, nil, nil, 0
}
