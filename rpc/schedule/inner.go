package schedule

import "time"

// pushInner queues a call that is made for one that runs.
func (q *Queue) pushInner(now time.Duration, c *Call) Verdict {
	switch {
	case c.expired(now):
		return Verdict{Late, never}
	case c.Under.depth >= q.opt.Depth:
		return Verdict{Deep, never}
	case c.Bytes > q.opt.QueueBytes:
		return Verdict{Large, never}
	case q.nested.calls >= q.opt.Queue, c.Bytes > q.opt.QueueBytes-q.nested.bytes:
		return Verdict{Full, q.relief(q.open)}
	}
	c.state, c.depth = inner, c.Under.depth+1
	q.nested.add(c)
	c.join(&c.Under.waiters)
	q.offer(c.Under)
	return Verdict{}
}

// offer lets the first call that is to run under c, if there is room under it, wait
// for its gate only.
func (q *Queue) offer(c *Call) {
	if c.below != nil || c.offered != nil {
		return
	}
	if n := c.waiters.Head(); n != nil {
		c.offered = n.Value
		n.Value.quit()
		n.Value.join(&q.inner)
	}
}

// dequeueInner takes an inner call out that waits. If it was to try a gate, the next
// is.
func (q *Queue) dequeueInner(c *Call) {
	c.quit()
	q.recall(c.gate())
	q.nested.sub(c)
	if up := c.Under; up.offered == c {
		up.offered = nil
		q.offer(up)
	}
}

// popInner returns the next inner call that may run. What cannot pass its gate is
// set aside until one comes out of it.
func (q *Queue) popInner(now time.Duration) *Call {
	for c := q.inner.Front(); c != nil; c = q.inner.Front() {
		switch {
		case c.expired(now):
			q.dequeueInner(c)
			q.tooLate(c)
		case c.passed():
			return q.startInner(now, c)
		case c.gate().room():
			c.holds = true
			c.gate().running++
			q.adjustAll(c.gate())
			return q.startInner(now, c)
		default:
			c.quit()
			c.join(&c.gate().inner)
		}
	}
	return nil
}

// passed tells whether a call above has passed the gate of c.
func (c *Call) passed() bool {
	g := c.gate()
	if g.bound == 0 {
		return false
	}
	for up := c.Under; up != nil; up = up.above {
		if up.gate() == g {
			return true
		}
	}
	return false
}

func (q *Queue) startInner(now time.Duration, c *Call) *Call {
	up := c.Under
	c.quit()
	q.nested.sub(c)
	up.offered = nil
	c.above, up.below = up, c
	q.start(now, c)
	return c
}

// unchain takes a call that has ended out of its chain, which closes up.
func (q *Queue) unchain(c *Call) {
	up, down := c.above, c.below
	c.above, c.below = nil, nil
	if up != nil {
		up.below = down
	} else if down == nil {
		q.running--
	}
	if down != nil {
		down.above = up
	}
	q.pass(c, down)
	q.disown(c)
	if up != nil {
		q.offer(up)
	}
}

// pass gives what c holds of its gate to the next below that relies on it.
func (q *Queue) pass(c, down *Call) {
	if !c.holds {
		return
	}
	c.holds = false
	for ; down != nil; down = down.below {
		if down.gate() == c.gate() && !down.holds {
			down.holds = true
			return
		}
	}
	q.leave(c.gate())
}

// disown makes ordinary calls of those that wait to run under c.
func (q *Queue) disown(c *Call) {
	for {
		w := c.offered
		if c.offered = nil; w == nil {
			if w = c.waiters.Front(); w == nil {
				return
			}
		}
		w.quit()
		q.recall(w.gate())
		q.nested.sub(w)
		w.Under, w.depth = nil, 0
		from := q.client(&w.Client)
		if from == nil {
			from = q.newClient(w.Client)
		}
		q.enqueue(w, from)
	}
}
