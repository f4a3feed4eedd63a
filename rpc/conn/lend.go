package conn

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/frame"
)

// Waking a goroutine up costs more than all else that a short call does. So who
// has the only call that is outstanding may read its reply itself:
//
//	           the only call is answered                ReadUntil
//	resident ───────────────────────────▶ free ─────────────────────────▶ lent
//	   ▲  ▲                               │ ▲ arrived, no other call         │
//	   │  └── for lendTime nobody came ───┘ └────────────────────────────────┤
//	   ├── other calls, the caller's time is over, or its answer came by another ─┘
//	   └── Reside: of who waits and does not read
//
// While nobody reads, and that is lendTime at most, nothing is lost but that time.
const (
	roleResident int32 = iota // the connection's own goroutine reads
	roleFree                  // nobody does
	roleLent                  // a caller does
)

// lendTime is how long the socket may be left unread, and how late a caller may
// find out that its time is over.
const lendTime = time.Millisecond

var errKicked = errors.New("caller that reads has nothing to wait for")

// lending is who reads.
type lending struct {
	role    atomic.Int32
	used    atomic.Bool   // somebody has read since the resident looked
	wanted  atomic.Bool   // the last who waited would have read
	refused atomic.Uint32 // how often the resident was left to read for who waits
	waiting func() int    // how many wait for messages, the caller that reads among them
	wake    chan struct{} // gives the role back to the resident
	err     error         // why the caller that gave it back could not go on; whoever reads may write it

	mu      sync.Mutex
	ctx     context.Context //nolint:containedctx // of the caller that reads
	arrived func() bool     // the same caller's; nil: none reads
	kicked  bool

	recalled bool // lent memory is to be let go of
}

// ReadUntil lets a caller that waits for a reply read it by itself. It returns
// true if it has done so until arrived said so, and false if somebody else reads,
// or must from now on: then the caller waits for its [Handler] as ever. The
// caller must hold the connection, or be counted by [Options].Waiting, and have no locks.
func (c *Conn) ReadUntil(ctx context.Context, arrived func() bool) bool {
	l := &c.lend
	if !l.take() {
		l.wanted.Store(true)
		return false
	}
	l.used.Store(true)
	l.mu.Lock()
	l.ctx, l.arrived = ctx, arrived
	l.mu.Unlock()
	var err error
	for err == nil && (!arrived() || c.rd.rest) {
		c.rd.poll.due = true
		err = c.rd.round()
	}
	c.unkick()
	if err != nil {
		if !errors.Is(err, errKicked) {
			l.err = err
		}
		c.giveBack(roleLent)
		return arrived()
	}
	if l.waiting() == 1 {
		l.role.Store(roleFree)
		if l.waiting() == 1 {
			return true
		}
		c.giveBack(roleFree)
		return true
	}
	c.giveBack(roleLent)
	return true
}

// take makes a caller the one who reads, unless somebody else does. That is looked at again once
// the resident can know that the caller relies on it: it may be about to leave.
func (l *lending) take() bool {
	if l.role.Load() == roleFree && l.role.CompareAndSwap(roleFree, roleLent) {
		return true
	}
	l.refused.Add(1)
	return l.role.CompareAndSwap(roleFree, roleLent)
}

// Reside makes the connection's own goroutine read, if nobody does: somebody waits who will not
// read. Who is counted among those who wait may be sure that somebody does until it is not.
func (c *Conn) Reside() {
	c.lend.wanted.Store(false)
	c.lend.refused.Add(1)
	c.giveBack(roleFree)
}

// giveBack makes the resident read again, unless somebody else does by now.
func (c *Conn) giveBack(from int32) {
	if c.lend.role.CompareAndSwap(from, roleResident) {
		c.lend.wake <- struct{}{}
	}
}

// unkick ends what kick began.
func (c *Conn) unkick() {
	l := &c.lend
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ctx, l.arrived = nil, nil
	if !l.kicked {
		return
	}
	l.kicked = false
	c.resume()
}

// resume lets reads wait again that kick or Recall has ended, unless the other has, too.
// It is called with the lock.
func (c *Conn) resume() {
	if c.lend.kicked || c.lend.recalled {
		return
	}
	_ = c.nc.SetReadDeadline(time.Time{})
	if c.Err() != nil { // which had set a deadline of its own
		_ = c.nc.SetReadDeadline(time.Now().Add(c.opts.Linger))
	}
}

// kick ends the read of a caller whose time is over, or whose call has moved to another
// connection and ended there.
func (c *Conn) kick() {
	l := &c.lend
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.arrived != nil && !l.kicked && (l.ctx.Err() != nil || l.arrived()) {
		l.kicked = true
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// isKick tells whether a read ended because of kick.
func (c *Conn) isKick(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.lend.mu.Lock()
	defer c.lend.mu.Unlock()
	return c.lend.kicked && c.Err() == nil
}

// serve is what the resident does: it reads, or lets callers read.
func (c *Conn) serve() error {
	var idle *time.Timer
	for {
		answers := c.snd.answers.Load()
		if err := c.rd.round(); err != nil {
			c.rd.pass()
			return err
		}
		if len(c.rd.last.all) > 0 {
			if !c.runLast() {
				return errRelieved
			}
			c.rd.expectMore(answers)
			continue
		}
		c.rd.expectMore(answers)
		if !c.rd.sole || !c.offer() {
			continue
		}
		if idle == nil {
			idle = time.NewTimer(lendTime)
			defer idle.Stop()
		} else {
			idle.Reset(lendTime)
		}
		if err := c.offDuty(idle); err != nil {
			return err
		}
	}
}

// offer leaves the role to callers, if the only call that is outstanding has just been
// answered, and nobody who has begun to wait since relies on the resident.
func (c *Conn) offer() bool {
	l, refused := &c.lend, c.rd.refused // which is the next reader's when the role is free
	mayLeave := func() bool { return l.waiting() <= 1 && l.refused.Load() == refused }
	if !mayLeave() || l.waiting() == 0 && !l.wanted.Load() {
		return false
	}
	l.role.Store(roleFree)
	return mayLeave() || !l.role.CompareAndSwap(roleFree, roleResident)
}

// offDuty waits until the resident must read again.
func (c *Conn) offDuty(idle *time.Timer) error {
	for {
		select {
		case <-c.lend.wake:
			return c.lend.err
		case <-idle.C:
			if !c.lend.used.Swap(false) && c.lend.role.CompareAndSwap(roleFree, roleResident) {
				return nil
			}
			c.kick()
			idle.Reset(lendTime)
		}
	}
}

// answers tells whether a message is all that its call will get.
func answers(h *frame.Header) bool {
	return (h.Type == frame.TypeReply || h.Type == frame.TypeError) && h.Flags&frame.FlagStream == 0
}
