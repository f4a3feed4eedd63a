package session

import "slices"

// closes tells whether seq is below the fence.
func (f *Fence) closes(seq uint64) bool {
	return f.until(seq) != seq
}

// until returns the first sequence number from seq on that it does not close, 0 if it
// closes all.
func (f *Fence) until(seq uint64) uint64 {
	if seq > f.Last {
		return seq
	}
	if i, _ := slices.BinarySearch(f.Open, seq); i < len(f.Open) {
		return f.Open[i]
	}
	return f.Last + 1
}

// valid tells whether a fence, if there is one, is what it should be, and short enough.
func (f *Fence) valid(most int) bool {
	if f == nil || len(f.Open) == 0 {
		return true
	}
	for i, seq := range f.Open[1:] {
		if f.Open[i] >= seq {
			return false
		}
	}
	return len(f.Open) <= most && f.Open[len(f.Open)-1] <= f.Last
}

// close notes what a client says that it has closed, before anything else that
// its message says is considered: so a call finds all calls dead that its client
// had given up before.
func (d *Domain) close(s *Session, m *Message, fx []Effect) []Effect {
	if f := m.Closed; f != nil && f.Version > s.fence.Version {
		s.fence = *f
		s.acked = max(s.acked, m.Ack)
		return d.sweep(s, fx)
	}
	if m.Ack <= s.acked {
		return fx
	}
	s.acked = m.Ack
	for first := s.window.first(); first != 0 && first <= s.acked; first = s.window.first() {
		fx = d.forget(s, s.window.get(first), fx)
	}
	return d.advance(s, fx)
}

// sweep forgets all entries that are closed.
func (d *Domain) sweep(s *Session, fx []Effect) []Effect {
	s.window.all(func(seq uint64, e *Entry) {
		if s.closed(seq) {
			fx = d.forget(s, e, fx)
		}
	})
	return d.advance(s, fx)
}

// forget drops an entry that its client has closed. What runs is interrupted, and
// kept in mind until it has ended: its lane waits for it.
func (d *Domain) forget(s *Session, e *Entry, fx []Effect) []Effect {
	s.window.del(e.seq)
	switch e.state {
	case waiting, queued:
		fx = s.leave(e, fx)
	case taken, running:
		e.orphan = true
		s.orphans++
		if e.state == running {
			fx = append(fx, Effect{Do: Interrupt, Entry: e})
		}
		return fx
	}
	d.recycle(s, e)
	return fx
}

// recycle takes an entry back, unless the shell still has it in its queue.
func (d *Domain) recycle(s *Session, e *Entry) {
	d.drop(s, e)
	e.state = gone
	if !e.queuedUp {
		*e = Entry{}
		d.free = append(d.free, e)
	}
}

// drop gives up the reply of an entry.
func (d *Domain) drop(s *Session, e *Entry) {
	n := len(e.outcome.Reply)
	s.held -= n
	d.held -= n
	e.outcome.Reply, e.outcome.Blobs = nil, 0
	e.release()
}

// advance moves the mark below which no call can come any more, and lets those
// calls in lanes start that waited for it.
func (d *Domain) advance(s *Session, fx []Effect) []Effect {
	if s.ended {
		return fx
	}
	s.known = max(s.known, s.acked)
	for next := s.known + 1; next != 0; next = s.known + 1 {
		if s.window.get(next) != nil {
			s.known = next
		} else if s.known = s.fence.until(next) - 1; s.known < next {
			break
		}
	}
	if len(s.gapped) == 0 {
		return fx
	}
	gapped := s.gapped
	s.gapped = nil
	for _, l := range gapped {
		fx = s.admit(l, fx)
	}
	return fx
}
