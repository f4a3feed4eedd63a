package server

import (
	"context"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

// turn is one event, and what it leads to.
type turn struct {
	now    time.Duration
	reader *Link      // whose reader brought the event; nil: none did
	behind *Link      // whose reader runs, behind all that has come, what brought the event
	round  *conn.Conn // whose reader brought the event: a worker's; nil: none did
	fx     []session.Effect
	sends  []send
	runs   []*Job
	starts []*session.Entry // that may run when the journal has what is before them
	closes []*Link
	wait   uint64 // what follows waits until the journal has this on disk; 0: nothing does
}

// send is a message for a client.
type send struct {
	to  *Link
	msg session.Message
	job *Job
}

// begin starts a turn: it locks the core.
func (c *Core) begin(reader *Link) *turn {
	now := c.now()
	t, again := c.turns.Get().(*turn)
	if !again {
		t = new(turn)
	}
	t.now, t.reader = now, reader
	c.mu.Lock()
	return t
}

// end sees to all that a turn has led to, and unlocks.
func (c *Core) end(t *turn) {
	c.settle(t)
	for c.dispatch(t) {
		c.settle(t)
	}
	for len(t.starts) > 0 && t.wait == 0 && len(c.behind) == 0 {
		c.start(t)
	}
	if t.wait != 0 || len(c.behind) > 0 {
		runs := t.runs // wait for nothing any more
		t.runs = nil
		c.defers(t)
		c.mu.Unlock()
		for _, j := range runs {
			c.exec.Execute(j)
		}
		return
	}
	c.mu.Unlock()
	t.perform(c)
	c.putBack(t)
}

// start starts what has waited for the journal, if it still may.
func (c *Core) start(t *turn) {
	starts := t.starts
	t.starts = nil
	for _, e := range starts {
		c.pending--
		c.execute(t, e)
	}
	c.settle(t)
	for c.dispatch(t) {
		c.settle(t)
	}
	c.quiet()
}

// unlock unlocks, and puts a turn back.
func (c *Core) unlock(t *turn) {
	c.mu.Unlock()
	c.putBack(t)
}

// putBack keeps a turn for the next event.
func (c *Core) putBack(t *turn) {
	clear(t.fx)
	clear(t.sends)
	clear(t.runs)
	clear(t.closes)
	*t = turn{fx: t.fx[:0], sends: t.sends[:0], runs: t.runs[:0], closes: t.closes[:0]}
	if cap(t.fx) <= 1024 {
		c.turns.Put(t)
	}
}

// settle carries out the effects that can be under the lock, in their order, and notes
// the others. What is carried out may have effects of its own, which come behind.
func (c *Core) settle(t *turn) {
	for i := 0; i < len(t.fx); i++ {
		switch fx := &t.fx[i]; fx.Do {
		case session.Send:
			if l := c.links[fx.Conn]; l != nil {
				t.sends = append(t.sends, send{to: l, msg: fx.Msg, job: jobOf(fx.Entry)})
			} else if fx.Msg.Memory != nil {
				fx.Msg.Memory.Release()
			}
		case session.Append:
			c.journalled(t, fx)
		case session.Queue:
			c.enqueue(t, fx.Entry)
		case session.Execute:
			if c.opts.Sync {
				t.starts = append(t.starts, fx.Entry)
				c.pending++
			} else {
				c.execute(t, fx.Entry)
			}
		case session.Interrupt:
			if j := jobOf(fx.Entry); j != nil {
				j.cancel(context.Canceled)
				c.exec.Interrupt(j)
			}
		case session.Close:
			if l := c.links[fx.Conn]; l != nil {
				t.closes = append(t.closes, l)
			}
		}
	}
	t.fx = t.fx[:0]
}

func jobOf(e *session.Entry) *Job {
	if e == nil {
		return nil
	}
	j, _ := e.Tag.(*Job)
	return j
}

// perform carries out the rest, without the lock.
func (t *turn) perform(c *Core) {
	round := t.round
	if t.reader != nil {
		round = t.reader.carrier()
	}
	for i := range t.sends {
		s := &t.sends[i]
		s.to.line.Tell(&s.msg, s.job, s.to == t.reader || s.to == t.behind || s.to.follow(round))
		if s.msg.Memory != nil {
			s.msg.Memory.Release()
		}
	}
	for _, l := range t.closes {
		l.line.Close(frame.ReasonSession, "session is misused: call id used twice, or too many calls open")
	}
	for _, j := range t.runs {
		if t.reader != nil {
			j.last, _ = t.reader.line.(laster)
			j.from = t.reader
		}
		j.round = round
		c.exec.Execute(j)
	}
}

// carrier is the connection of a link, nil if it is of another kind.
func (l *Link) carrier() *conn.Conn {
	n, ok := l.line.(*nativeLine)
	if !ok {
		return nil
	}
	c, _ := n.peer.(*conn.Conn)
	return c
}

// follow has what is told to a link written at the end of a round, if that can be.
func (l *Link) follow(round *conn.Conn) bool {
	c := l.carrier()
	if c == nil || round == nil {
		return false
	}
	round.FlushAfter(c)
	return true
}
