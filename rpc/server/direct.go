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
// counts as any other call that waits or runs. A call whose context has ended does not run. ended must be called when
// it has, with how.
func (c *Core) Acquire(ctx context.Context, m *Method, p frame.Priority) (ended func(session.Code, session.Execution), err error) {
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
				c.ended(j, late(ctx), session.NotExecuted)
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
	ended = func(code session.Code, ran session.Execution) {
		t := c.begin(nil)
		c.finished(t.now, j, ran != session.NotExecuted)
		c.ended(j, code, ran)
		c.end(t)
	}
	if ctx.Err() != nil { // its turn came, and its end
		ended(late(ctx), session.NotExecuted)
		return nil, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
	}
	return ended, nil
}

// late is the code of a call whose context has ended.
func late(ctx context.Context) session.Code {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return session.DeadlineExceeded
	}
	return session.Canceled
}
