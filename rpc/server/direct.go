package server

import (
	"context"
	"errors"
	"time"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/schedule"
	"rpcpool.dev/rpc/session"
)

// ErrBusy is why a call within the process is refused.
var ErrBusy = errors.New("too many calls wait, or the server is draining")

// Acquire waits for the right to run a call of a method outside of the core, which
// counts as any other call that waits or runs. release must be called when it has ended.
func (c *Core) Acquire(ctx context.Context, m *Method, p frame.Priority) (release func(), err error) {
	j := &Job{Method: m, Priority: p, core: c, granted: make(chan struct{})}
	j.place.Value = j
	if deadline, ok := ctx.Deadline(); ok {
		j.deadline = c.now() + time.Until(deadline)
	}
	t := c.begin(nil)
	j.arrived = t.now
	c.outside.PushBack(&j.place)
	if c.draining {
		c.counts.Drained++
		c.turnOut(j)
	} else if v := c.push(t.now, j); v.Reason != schedule.Queued {
		c.turnAway(t, j, v)
	}
	refused := j.refused
	c.end(t)
	if refused {
		return nil, ErrBusy
	}
	select {
	case <-j.granted:
	default:
		select {
		case <-j.granted:
		case <-ctx.Done():
			t := c.begin(nil)
			waits := j.slot != nil && c.queue.Remove(j.slot)
			if waits {
				c.vacate(j)
				c.outside.Remove(&j.place)
				c.ended(j, session.Canceled, session.NotExecuted)
			}
			c.end(t)
			if waits {
				return nil, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
			}
			<-j.granted
		}
	}
	if j.refused {
		return nil, ErrBusy
	}
	return func() {
		t := c.begin(nil)
		c.finished(t.now, j, true)
		c.ended(j, session.OK, session.Executed)
		c.end(t)
	}, nil
}
