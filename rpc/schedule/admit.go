package schedule

import "time"

// soonest is the least that a refusal asks to wait.
const soonest = time.Millisecond

// unknown is what it asks if nothing is known.
const unknown = 100 * time.Millisecond

// never says that there is no use in another attempt.
const never = -1

// refuse says why an ordinary call must not wait, if it must not.
func (q *Queue) refuse(now time.Duration, c *Call, from *client) Verdict {
	calls, bytes := 0, 0
	if from != nil {
		calls, bytes = from.waiting, from.bytes
	}
	switch {
	case c.expired(now):
		return Verdict{Late, never}
	case c.Bytes > q.opt.QueueBytes:
		return Verdict{Large, never}
	case calls >= q.opt.Queue-q.ordinary.calls,
		c.Bytes > q.opt.QueueBytes-q.ordinary.bytes-bytes:
		return Verdict{Full, q.relief(c.gate())}
	case c.Deadline == 0 || q.running < q.opt.Limit && c.gate().room():
		return Verdict{}
	}
	g, left := c.gate(), c.Deadline-now
	if left > slowest || each(g.work(), q.slots(g)) <= left {
		return Verdict{} // all that waits is done before
	}
	if wait := q.wait(&g.lanes[c.class], from) * 2 / 3; wait > left {
		return Verdict{Hopeless, max(wait-left, soonest)}
	}
	return Verdict{}
}

// relief is how long it takes until a quarter of what waits at a gate is gone.
func (q *Queue) relief(g *gate) time.Duration {
	work := g.work()
	if work == 0 {
		return unknown
	}
	return max(each(work, 4*q.slots(g)), soonest)
}

// each divides evenly.
func each(d time.Duration, n int64) time.Duration { return time.Duration(int64(d) / n) }

// slots is through how many slots what waits at a gate goes, at the most.
func (q *Queue) slots(g *gate) int64 {
	if g.bound == 0 {
		return int64(max(q.opt.Limit, 1))
	}
	return int64(max(min(g.bound, q.opt.Limit), 1))
}

// work is what all that waits at a gate is expected to take.
func (g *gate) work() (sum time.Duration) {
	for i := range g.lanes {
		sum += g.lanes[i].work
	}
	return sum
}

// wait is after how long a client's next call in a lane is expected to start.
func (q *Queue) wait(l *lane, from *client) time.Duration {
	n := l.ages.Len()
	if n == 0 {
		return 0 // it is next at its gate, once the running ones have let it in
	}
	own, others := 0, l.flows
	if from != nil {
		if s := l.strand(&from.flows[l.class]); s != nil && s.calls.Len() > 0 {
			own, others = s.calls.Len(), others-1
		}
	}
	ahead := min(n, own+(own+1)*others)
	work := int64(each(l.work, int64(n))) * int64(ahead)
	var sum int64
	for i := range l.gate.lanes {
		if l.gate.lanes[i].ages.Len() > 0 {
			sum += weights[i]
		}
	}
	work = work * sum / weights[l.class]
	return each(min(time.Duration(work), l.gate.work()), q.slots(l.gate))
}
