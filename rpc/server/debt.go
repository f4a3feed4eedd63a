package server

import (
	"sync"
	"time"

	"rpcpool.dev/internal/fifo"
	"rpcpool.dev/rpc/conn"
)

const (
	readAfter = 20 * time.Second
	// readPace is how much it must read in a second then, bytes.
	readPace = 256 << 10
	// lookAgain is when a client that is slower is looked at again, if nobody wants room now.
	lookAgain = time.Second
)

// Debt is what a client has not read of its results, where these have room that others may wait
// for ([Options].Room). Each must be read within readAfter, and as long as it takes to read it, and what was
// to be read before it, at readPace. A client that is slower is closed, unless nobody wants room.
//
//	          a result                  the oldest's time is over
//	none ──────────────▶ looked after ─────────────────────────────▶ is room wanted?
//	  ▲                    ▲    │  ▲                                     │   │
//	  └── all is read ─────┼────┘  └────────── no: later ────────────────┘   └─ yes ─▶ the client is closed
type Debt struct {
	core  *Core
	close func()
	now   func() time.Time
	after func(time.Duration, func()) *time.Timer

	mu    sync.Mutex
	all   fifo.List[*Owed] // the oldest first
	bytes int
	timer *time.Timer
	over  bool
}

// Owed is a result that a client is to read.
type Owed struct {
	debt  *Debt
	mem   conn.Releaser
	n     int
	due   time.Time
	place fifo.Node[*Owed]
}

// Watch begins to look after a client of a door, which f closes, without waiting. It must be closed.
func (c *Core) Watch(f func()) *Debt {
	d := new(Debt)
	d.init(c, f)
	return d
}

func (d *Debt) init(c *Core, f func()) {
	d.core, d.close, d.now, d.after = c, f, time.Now, time.AfterFunc
}

// Owe says that the client is to read n bytes, which are in mem, until what it returns is released.
func (d *Debt) Owe(mem conn.Releaser, n int) *Owed {
	o := &Owed{debt: d, mem: mem, n: n}
	o.place.Value = o
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes += n
	o.due = d.now().Add(d.core.opts.ReadAfter + time.Duration(d.bytes)*time.Second/readPace)
	d.all.PushBack(&o.place)
	if d.timer == nil && !d.over && d.core.opts.Room != nil {
		d.timer = d.after(o.due.Sub(d.now()), d.look)
	}
	return o
}

// Release implements [conn.Releaser]: it is read, or never will be.
func (o *Owed) Release() {
	o.debt.forget(o)
	o.mem.Release()
}

// Abandon is Release, but the memory is still looked at, by nobody who matters: it is left to the
// garbage collector.
func (o *Owed) Abandon() {
	o.debt.forget(o)
	if m, is := o.mem.(interface{ Abandon() }); is {
		m.Abandon()
	}
}

func (d *Debt) forget(o *Owed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes -= o.n
	d.all.Remove(&o.place)
}

// Close ends it.
func (d *Debt) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over = true; d.timer != nil {
		d.timer.Stop()
	}
}

// look looks whether the oldest result should have been read by now.
func (d *Debt) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = nil
	oldest := d.all.Front()
	if d.over || oldest == nil {
		return
	}
	left := oldest.due.Sub(d.now())
	if left <= 0 && d.core.opts.Room.Wanted() {
		d.over = true
		d.close()
		return
	}
	d.timer = d.after(max(left, lookAgain), d.look)
}

// Owe says that the job's client is to read n bytes, which are in mem, until what it returns is released.
func (j *Job) Owe(mem conn.Releaser, n int) conn.Releaser {
	if j.link == nil || j.core.opts.Room == nil {
		return mem
	}
	l, native := j.link.line.(*nativeLine)
	if !native {
		return mem
	}
	return l.debt.Owe(mem, n)
}
