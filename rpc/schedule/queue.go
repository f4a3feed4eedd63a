package schedule

import (
	"time"

	"rpcpool.dev/internal/fifo"
)

const (
	longest = time.Minute // what a call pays for at most
	slowest = time.Hour   // what a call is expected to take at most, and what waits within its deadline
)

// Queue says which call runs next. Use [New].
type Queue struct {
	opt     Options
	methods map[uint32]*method
	gates   map[string]*gate
	bounds  int // gates that have one
	open    *gate
	other   *method // of calls whose method was not declared

	clients map[[16]byte]*client
	latest  *client            // that was asked for
	known   fifo.List[*client] // that have nothing waiting, but for those that have again
	gone    fifo.List[*client] // to be used again
	classes [priorities]class
	paid    int64 // by the priority that was next, before that

	inner    fifo.List[*Call] // inner calls that may try their gate
	late     fifo.List[*Call] // to be shed
	standing fifo.List[*lane] // to be looked at when shedding

	ordinary, nested load
	running          int // slots in use
}

// load is how much of one kind waits.
type load struct{ calls, bytes int }

func (l *load) add(c *Call) { l.calls++; l.bytes += c.Bytes }
func (l *load) sub(c *Call) { l.calls--; l.bytes -= c.Bytes }

// New returns a queue in which nothing waits.
func New(opt Options) *Queue {
	opt.fill()
	q := &Queue{opt: opt, open: newGate(0, 0), methods: map[uint32]*method{}, gates: map[string]*gate{}}
	q.clients = map[[16]byte]*client{}
	q.other = &method{gate: q.open, class: uint8(Normal) - 1, duration: opt.Estimator()}
	return q
}

// Method declares a method, once, before its calls. Those of methods that were not
// declared have no bound, and are taken for calls of one method.
func (q *Queue) Method(id uint32, opt MethodOptions) {
	if q.methods[id] != nil {
		return
	}
	if opt.Priority == 0 {
		opt.Priority = Normal
	}
	m := &method{gate: q.open, class: uint8(min(opt.Priority, Bulk)) - 1, duration: q.opt.Estimator()}
	if g := q.gates[opt.Gate]; g != nil {
		m.gate = g
	} else if opt.Concurrency > 0 {
		m.gate = newGate(opt.Concurrency, q.bounds)
		q.bounds++
		if opt.Gate != "" {
			q.gates[opt.Gate] = m.gate
		}
	}
	q.methods[id] = m
}

// Push queues a call, which must not be in the queue yet, or says why not.
func (q *Queue) Push(now time.Duration, c *Call) Verdict {
	if c.state != idle {
		panic("schedule: the call is in the queue already")
	}
	v := q.push(now, c)
	if v.Reason != Queued {
		c.release()
	}
	return v
}

func (q *Queue) push(now time.Duration, c *Call) Verdict {
	if c.method = q.methods[c.Method]; c.method == nil {
		c.method = q.other
	}
	if c.class = c.method.class; c.Priority != 0 {
		c.class = uint8(min(c.Priority, Bulk)) - 1
	}
	c.arrived, c.node.Value = now, c
	if c.Under != nil && c.Under.state == running {
		return q.pushInner(now, c)
	}
	from := q.client(&c.Client)
	if v := q.refuse(now, c, from); v.Reason != Queued {
		return v
	}
	if from == nil {
		from = q.newClient(c.Client)
	}
	q.enqueue(c, from)
	return Verdict{}
}

// enqueue lets a call wait for its turn.
func (q *Queue) enqueue(c *Call, from *client) {
	f, l := &from.flows[c.class], &c.gate().lanes[c.class]
	s := l.strand(f)
	if s == nil {
		s = newStrand(l, f)
	}
	if q.ordinary.calls == 0 {
		q.forgive()
	}
	from.waiting++
	from.bytes += c.Bytes
	q.ordinary.add(c)
	c.state, c.strand, c.expected = waiting, s, min(c.method.duration.Mean(), slowest)
	c.age.Value = c
	l.ages.PushBack(&c.age)
	l.work += c.expected
	c.join(&s.calls)
	if s.calls.Len() == 1 {
		q.admit(s)
	}
}

// forgive forgets who has paid how much, as nobody has waited.
func (q *Queue) forgive() {
	for i := range q.classes {
		q.paid = max(q.paid, q.classes[i].paid)
	}
}

// dequeue takes a call out that waits for its turn.
func (q *Queue) dequeue(c *Call) {
	s := c.strand
	l, from := s.lane, s.flow.client
	c.quit()
	l.ages.Remove(&c.age)
	l.work -= c.expected
	if l.ages.Len() == 0 {
		q.calm(l)
	}
	q.ordinary.sub(c)
	from.bytes -= c.Bytes
	if s.calls.Len() == 0 {
		q.dismiss(s)
	}
	if from.waiting--; from.waiting == 0 {
		q.settle(from)
	}
}

// SetLimit changes how many calls run at once; those that run already run on. With 0,
// none starts.
func (q *Queue) SetLimit(n int) { q.opt.Limit = max(n, 0) }

// Pop returns the next call that may run, which has its slot until Done or Unpop;
// nil if there is none, or no slot. What it finds too late is left to Shed.
func (q *Queue) Pop(now time.Duration) *Call {
	if c := q.popInner(now); c != nil {
		return c
	}
	for q.running < q.opt.Limit {
		k := q.next()
		if k == nil {
			return nil
		}
		c := k.ring.Head().Value.ready.Head().Value.calls.Front()
		if c.expired(now) {
			q.dequeue(c)
			q.tooLate(c)
			continue
		}
		q.observe(now, c)
		q.take(k, c)
		q.start(now, c)
		return c
	}
	return nil
}

// take takes the call out whose turn it is.
func (q *Queue) take(k *class, c *Call) {
	s, g := c.strand, c.gate()
	q.paid = k.paid
	c.pay(k, c.expected)
	q.running++
	g.running++
	c.holds = true
	q.dequeue(c)
	if g.bound > 0 {
		if s.calls.Len() > 0 && s.lane.strands.Len() > 1 {
			q.postpone(s)
		}
		q.adjustAll(g)
	}
	k.rotate(s.flow, s)
}

func (q *Queue) start(now time.Duration, c *Call) { c.state, c.began, c.strand = running, now, nil }

// pay charges a call for the time that it takes, and what it has paid too much is
// paid back.
func (c *Call) pay(k *class, took time.Duration) {
	cost := prices[c.class] * max(1, min(took, longest).Microseconds())
	k.paid += cost - c.paid
	c.paid = cost
}

func (c *Call) expired(now time.Duration) bool { return c.Deadline != 0 && now >= c.Deadline }

// Done says that a call which ran has ended.
func (q *Queue) Done(now time.Duration, c *Call) {
	took := now - c.began
	c.method.duration.Add(took)
	q.end(c, took)
}

// Unpop says that a call which was to run did not start. It is out of the queue.
func (q *Queue) Unpop(c *Call) { q.end(c, 0) }

func (q *Queue) end(c *Call, took time.Duration) {
	if c.state != running {
		panic("schedule: the call does not run")
	}
	if c.paid != 0 {
		c.pay(&q.classes[c.class], took)
		c.paid = 0
	}
	q.unchain(c)
	c.release()
}

// Remove takes a call out that is not wanted any more, and tells whether it was
// waiting. It is also for those that Shed has not returned yet.
func (q *Queue) Remove(c *Call) bool {
	switch c.state {
	case waiting:
		q.dequeue(c)
	case inner:
		q.dequeueInner(c)
	case late:
		c.quit()
	default:
		return false
	}
	c.release()
	return true
}

// Depth says what there is to do.
func (q *Queue) Depth() Depth {
	return Depth{
		Waiting: q.ordinary.calls,
		Inner:   q.nested.calls,
		Bytes:   q.ordinary.bytes + q.nested.bytes,
		Running: q.running,
		Wait:    each(q.open.work(), int64(max(q.opt.Limit, 1))),
	}
}
