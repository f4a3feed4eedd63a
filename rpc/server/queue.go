package server

import (
	"time"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/schedule"
	"rpcpool.dev/rpc/session"
)

// priorities are a frame's as the queue has them.
var priorities = [frame.Priorities]schedule.Priority{ //nolint:gochecknoglobals // a table
	frame.PriorityInteractive: schedule.Interactive, frame.PriorityNormal: schedule.Normal, frame.PriorityBulk: schedule.Bulk,
}

// push puts a job into the queue, or says why not.
func (c *Core) push(now time.Duration, j *Job) schedule.Verdict {
	s := c.slot()
	s.Tag, s.Client, s.Method, s.Priority = j, j.xid.Session, j.Method.number, priorities[j.Priority]
	s.Deadline, s.Bytes = j.deadline, len(j.Args)
	j.slot = s
	v := c.queue.Push(now, s)
	if v.Reason != schedule.Queued {
		c.vacate(j)
	}
	return v
}

// slotsMost is how many slots are kept for later jobs.
const slotsMost = 1024

// slot is a place in the queue for a job. Unlike a job, which is its handler's context and may
// be looked at for ever, it is used again.
func (c *Core) slot() *schedule.Call {
	n := len(c.slots)
	if n == 0 {
		return new(schedule.Call)
	}
	s := c.slots[n-1]
	c.slots = c.slots[:n-1]
	return s
}

// vacate takes back the slot of a job of which the queue knows nothing any more.
func (c *Core) vacate(j *Job) {
	s := j.slot
	if j.slot = nil; len(c.slots) < slotsMost {
		*s = schedule.Call{}
		c.slots = append(c.slots, s)
	}
}

// unpop puts a job out of the queue whose turn it was and that does not run.
func (c *Core) unpop(j *Job) {
	c.queue.Unpop(j.slot)
	c.vacate(j)
}

// shed refuses what the queue does not want to keep.
func (c *Core) shed(t *turn) {
	for {
		s, v := c.queue.Shed(t.now)
		if s == nil {
			return
		}
		j, _ := s.Tag.(*Job)
		c.vacate(j)
		c.turnAway(t, j, v)
	}
}

// turnAway ends a job that the queue does not take, or does not keep.
func (c *Core) turnAway(t *turn, j *Job, v schedule.Verdict) {
	c.counts.Turned[v.Reason]++
	if j.granted != nil {
		c.turnOut(j)
		return
	}
	if v.Reason == schedule.Late {
		c.take(t, j) // the session says that its deadline has passed
		return
	}
	c.refuse(t, j, session.Refused, v.After, "server is busy: "+v.Reason.String())
}

// take asks the session whether a job may start. It tells whether it is about to.
func (c *Core) take(t *turn, j *Job) bool {
	before := len(t.fx)
	t.fx = c.domain.Take(t.now, j.entry, t.fx)
	if n := len(t.fx); n > before && t.fx[n-1].Do == session.Execute {
		return true
	}
	c.missed(j)
	j.let(nil)
	return false
}

// turnOut tells who waits to run a call outside of the core that it may not.
func (c *Core) turnOut(j *Job) {
	c.counts.Refusals++
	c.ended(j, session.Refused, session.NotExecuted)
	c.outside.Remove(&j.place)
	j.refused = true
	close(j.granted)
}

// dispatch starts what may start now. It tells whether that has had effects.
func (c *Core) dispatch(t *turn) bool {
	c.shed(t)
	for s := c.queue.Pop(t.now); s != nil; s = c.queue.Pop(t.now) {
		j, _ := s.Tag.(*Job)
		switch {
		case j.granted != nil:
			c.outside.Remove(&j.place)
			c.run(t, j)
			close(j.granted)
		case !c.take(t, j):
			c.unpop(j)
		}
	}
	c.shed(t)
	return len(t.fx) > 0
}

// Grow lets n more calls run at once, or fewer if n is negative: what runs already
// runs on. An executor tells so of its workers that come and go.
func (c *Core) Grow(n int) {
	t := c.begin(nil)
	c.limit += n
	c.queue.SetLimit(c.limit)
	c.end(t)
}

// drained takes all that waits out of the queue.
func (c *Core) drained(t *turn) {
	c.queue.SetLimit(1 << 30)
	for s := c.queue.Pop(t.now); s != nil; s = c.queue.Pop(t.now) {
		j, _ := s.Tag.(*Job)
		c.counts.Drained++
		if j.granted != nil {
			c.turnOut(j)
		} else {
			c.refuse(t, j, session.Refused, 0, "server is draining")
		}
		c.unpop(j)
	}
	c.queue.SetLimit(c.limit)
}
