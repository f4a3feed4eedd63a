package schedule

import (
	"time"

	"rpcpool.dev/internal/fifo"
)

// method is what is known of a method.
type method struct {
	gate     *gate
	class    uint8
	duration Estimator
}

// gate bounds how many calls run at once. That of the methods without a bound has
// bound 0.
type gate struct {
	bound   int
	index   int // in flow.bound
	running int
	lanes   [priorities]lane
	inner   fifo.List[*Call] // inner calls that wait for nothing but the gate
}

// lane is what waits at one gate with one priority.
type lane struct {
	gate  *gate
	class uint8
	ages  fifo.List[*Call] // all, the oldest first
	work  time.Duration    // that they are expected to make
	flows int              // clients that they are from

	// The clients that wait, in turn. The first shown of them take part in the
	// turns of the priority, as many as the gate has room for. Not used if there
	// is no bound.
	strands fifo.List[*strand]
	shown   int
	last    *fifo.Node[*strand] // of those shown

	delay delay
}

// strand is what waits of one client, at one gate, with one priority.
type strand struct {
	flow  *flow
	lane  *lane
	calls fifo.List[*Call]
	place fifo.Node[*strand] // in lane.strands
	turn  fifo.Node[*strand] // in flow.ready
	ready bool
}

func newGate(bound, index int) *gate {
	g := &gate{bound: bound, index: index}
	for i := range g.lanes {
		g.lanes[i].gate, g.lanes[i].class = g, uint8(i)
		g.lanes[i].delay.place.Value = &g.lanes[i]
	}
	return g
}

// room tells whether one more call may run.
func (g *gate) room() bool { return g.bound == 0 || g.running < g.bound }

// strand returns where calls of a flow wait in a lane, nil if none ever did.
func (l *lane) strand(f *flow) *strand {
	switch i := l.gate.index; {
	case l.gate.bound == 0:
		return &f.open
	case i < len(f.bound):
		return f.bound[i]
	}
	return nil
}

// newStrand makes it. It stays for as long as the client is remembered.
func newStrand(l *lane, f *flow) *strand {
	s := &strand{flow: f, lane: l}
	s.place.Value, s.turn.Value = s, s
	f.bound = append(f.bound, make([]*strand, max(0, l.gate.index+1-len(f.bound)))...)
	f.bound[l.gate.index] = s
	return s
}

// admit lets a strand wait that had nothing before.
func (q *Queue) admit(s *strand) {
	l := s.lane
	l.flows++
	if l.gate.bound == 0 {
		q.show(s)
		return
	}
	l.strands.PushBack(&s.place)
	q.adjust(l)
}

// dismiss takes out a strand that has nothing left.
func (q *Queue) dismiss(s *strand) {
	l := s.lane
	l.flows--
	if l.gate.bound == 0 {
		q.hide(s)
		return
	}
	l.withdraw(q, s)
	q.adjust(l)
}

// postpone puts a strand that has had its turn at its gate behind the others there.
func (q *Queue) postpone(s *strand) {
	l := s.lane
	l.withdraw(q, s)
	l.strands.PushBack(&s.place)
	q.adjust(l)
}

// withdraw takes a strand out of the row.
func (l *lane) withdraw(q *Queue, s *strand) {
	if s.ready {
		q.hide(s)
		l.shown--
		if l.last == &s.place {
			l.last = s.place.Prev()
		}
	}
	l.strands.Remove(&s.place)
}

// due is how many strands are to be shown.
func (l *lane) due() int { return min(l.gate.bound-l.gate.running, l.strands.Len()) }

// adjust shows as many strands of a lane as its gate has room for.
func (q *Queue) adjust(l *lane) {
	want := l.due()
	for l.shown < want {
		if l.last == nil {
			l.last = l.strands.Head()
		} else {
			l.last = l.last.Next()
		}
		q.show(l.last.Value)
		l.shown++
	}
	for l.shown > want {
		q.hide(l.last.Value)
		l.last = l.last.Prev()
		l.shown--
	}
}

// leave lets a call come back through its gate.
func (q *Queue) leave(g *gate) {
	g.running--
	q.recall(g)
	q.adjustAll(g)
}

// recall lets the first inner call that waits for a gate try it again, if it has room.
func (q *Queue) recall(g *gate) {
	if n := g.inner.Head(); n != nil && g.room() {
		n.Value.quit()
		n.Value.join(&q.inner)
	}
}

// adjustAll does so for all lanes of a gate.
func (q *Queue) adjustAll(g *gate) {
	if g.bound == 0 {
		return
	}
	for i := range g.lanes {
		if l := &g.lanes[i]; l.shown != l.due() {
			q.adjust(l)
		}
	}
}
