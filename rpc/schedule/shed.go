package schedule

import (
	"time"

	"rpcpool.dev/internal/fifo"
)

// delay is what is known of how long calls of a lane have waited.
type delay struct {
	long     bool          // all that were taken since had waited too long
	since    time.Duration //
	standing bool          // for a whole interval
	shed     time.Duration // when one was last refused for it
	place    fifo.Node[*lane]
}

// patience is how many calls' time may at least be waited for.
const patience = 4

// target is how long calls of a lane may wait, one and all.
func (q *Queue) target(l *lane) time.Duration {
	target := q.opt.Standing * time.Duration(prices[l.class])
	if n := l.ages.Len(); n > 0 {
		target = max(target, patience*each(l.work, int64(n)*q.slots(l.gate)))
	}
	return target
}

// observe learns from a call that is about to be taken.
func (q *Queue) observe(now time.Duration, c *Call) {
	l := c.strand.lane
	d := &l.delay
	waited := now - c.arrived
	if waited <= q.opt.Standing || q.opt.Standing < 0 {
		d.long = false
		return
	}
	target := q.target(l)
	switch {
	case waited <= target:
		d.long = false
	case !d.long:
		d.long, d.since = true, now
	case !d.standing && now-d.since >= target:
		d.standing, d.shed = true, now
		q.standing.PushBack(&d.place)
	}
}

// calm says that a lane is empty.
func (q *Queue) calm(l *lane) {
	l.delay.long = false
	if l.delay.standing {
		l.delay.standing = false
		q.standing.Remove(&l.delay.place)
	}
}

// tooLate keeps a call until Shed.
func (q *Queue) tooLate(c *Call) {
	c.state = late
	c.join(&q.late)
}

// Shed returns a call that is to be refused, and why; nil if there is none. It is to
// be called until then, after calls were pushed or popped.
func (q *Queue) Shed(now time.Duration) (*Call, Verdict) {
	if c := q.late.Front(); c != nil {
		c.quit()
		c.release()
		return c, Verdict{Late, never}
	}
	for n := q.standing.Head(); n != nil; {
		l := n.Value
		n = n.Next()
		target, oldest := q.target(l), l.ages.Front()
		switch {
		case now-oldest.arrived > target/2:
			l.delay.shed = now
			q.dequeue(oldest)
			oldest.release()
			return oldest, Verdict{Standing, target}
		case now-l.delay.shed > target:
			q.calm(l)
		}
	}
	return nil, Verdict{}
}
