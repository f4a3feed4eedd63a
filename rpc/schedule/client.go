package schedule

import "rpcpool.dev/internal/fifo"

// remembered is how many clients are kept beside those that have something waiting, so that one whose
// calls come one by one is not made anew for each.
const remembered = 256

// client is who the calls are from.
type client struct {
	id      [16]byte
	waiting int
	bytes   int
	flows   [priorities]flow
	rest    fifo.Node[*client] // in Queue.known
	kept    bool               // it is there
}

// flow is what waits of one client with one priority.
type flow struct {
	client *client
	class  uint8
	ready  fifo.List[*strand] // whose first call may start, in turn
	turn   fifo.Node[*flow]   // in class.ring, if ready is not empty
	open   strand             // at the gate without a bound
	bound  []*strand          // at the others
}

// class is one priority.
type class struct {
	ring fifo.List[*flow] // clients that have something ready, in turn
	paid int64            // for all its calls, price times microseconds
}

func (q *Queue) newClient(id [16]byte) *client {
	c := q.gone.Pop()
	if c == nil {
		c = new(client)
		c.rest.Value = c
		for i := range c.flows {
			f := &c.flows[i]
			f.client, f.class, f.turn.Value = c, uint8(i), f
			f.open.flow, f.open.lane, f.open.turn.Value = f, &q.open.lanes[i], &f.open
		}
	}
	c.id = id
	q.clients[id] = c
	return c
}

// client returns a client, nil if it is not known. Mostly it is the one that asked last.
func (q *Queue) client(id *[16]byte) *client {
	if q.latest == nil || q.latest.id != *id {
		q.latest = q.clients[*id]
	}
	return q.latest
}

// settle says that nothing of a client waits any more. The clients of which this was said
// longest ago are forgotten, but for those that have something waiting again.
func (q *Queue) settle(c *client) {
	if c.kept {
		return
	}
	c.kept = true
	q.known.PushBack(&c.rest)
	if q.known.Len() <= remembered {
		return
	}
	old := q.known.Pop()
	if old.kept = false; old.waiting > 0 {
		return
	}
	delete(q.clients, old.id)
	q.gone.PushBack(&old.rest)
	q.latest = nil
}

// show lets a strand take part in the turns.
func (q *Queue) show(s *strand) {
	f := s.flow
	s.ready = true
	f.ready.PushBack(&s.turn)
	if f.ready.Len() > 1 {
		return
	}
	k := &q.classes[f.class]
	if k.ring.Len() == 0 {
		k.paid = max(k.paid, q.paid)
	}
	k.ring.PushBack(&f.turn)
}

// hide ends that.
func (q *Queue) hide(s *strand) {
	f := s.flow
	s.ready = false
	f.ready.Remove(&s.turn)
	if f.ready.Len() == 0 {
		q.classes[f.class].ring.Remove(&f.turn)
	}
}

// next returns the priority that has paid least among those that have something
// ready, nil if none has.
func (q *Queue) next() *class {
	var next *class
	for i := range q.classes {
		k := &q.classes[i]
		if k.ring.Len() > 0 && (next == nil || k.paid < next.paid) {
			next = k
		}
	}
	return next
}

// rotate ends the turn of a client, and of its strand. Who has lost its place has
// none to lose.
func (k *class) rotate(f *flow, s *strand) {
	if s.ready && f.ready.Len() > 1 && f.ready.Head() == &s.turn {
		f.ready.Remove(&s.turn)
		f.ready.PushBack(&s.turn)
	}
	if k.ring.Len() > 1 && k.ring.Head() == &f.turn {
		k.ring.Remove(&f.turn)
		k.ring.PushBack(&f.turn)
	}
}
