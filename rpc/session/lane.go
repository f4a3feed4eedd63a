package session

import "slices"

// lane is an order among calls of a session: they run one after the other, by
// sequence number.
//
//	[2 done] [5 running] [6 waiting] [9 waiting]
//	          busy        calls ───────────────▶
//
// The first of calls is let in when none is busy, and when every lower sequence
// number of the session has come or is closed: one that has not come might belong
// to this lane. Nor may anything of this lane run on that was called in a session of
// before: one that has ended, and that this one has named as the client's.
type lane struct {
	key   uint64
	calls []*Entry // that wait, ascending
	busy  *Entry   // queued or running
}

// join puts a new entry into its lane, or lets it start if it is in none.
func (s *Session) join(key uint64, e *Entry, fx []Effect) []Effect {
	if key == 0 {
		return s.enter(e, fx)
	}
	l := s.lanes[key]
	if l == nil {
		if l, s.spare = s.spare, nil; l == nil {
			l = new(lane)
		}
		if s.lanes == nil {
			s.lanes = map[uint64]*lane{}
		}
		l.key, s.lanes[key] = key, l
	}
	e.state, e.lane = waiting, l
	i, _ := slices.BinarySearchFunc(l.calls, e.seq, func(e *Entry, seq uint64) int {
		if e.seq < seq {
			return -1
		}
		return 1
	})
	l.calls = slices.Insert(l.calls, i, e)
	return s.admit(l, fx)
}

// admit lets the first call of a lane start, if it may.
func (s *Session) admit(l *lane, fx []Effect) []Effect {
	if l.busy != nil || len(l.calls) == 0 || s.behind(l.key) {
		return fx
	}
	e := l.calls[0]
	if s.known+1 < e.seq {
		if !slices.Contains(s.gapped, l) {
			s.gapped = append(s.gapped, l)
		}
		return fx
	}
	l.calls = slices.Delete(l.calls, 0, 1)
	l.busy = e
	return s.enter(e, fx)
}

// leave takes an entry that has ended out of its lane: the next one may start.
func (s *Session) leave(e *Entry, fx []Effect) []Effect {
	if e.needs != nil {
		s.needy.remove(e)
	}
	l := e.lane
	if l == nil {
		return fx
	}
	e.lane = nil
	if l.busy == e {
		l.busy = nil
	} else if i := slices.Index(l.calls, e); i >= 0 {
		l.calls = slices.Delete(l.calls, i, i+1)
	}
	if l.busy == nil && len(l.calls) == 0 {
		delete(s.lanes, l.key)
		s.spare = l
	}
	return s.admit(l, fx)
}

// behind tells whether a call of a lane still runs that was made in a session of before.
func (s *Session) behind(key uint64) bool {
	return slices.ContainsFunc(s.before, func(b *Session) bool { return b.lanes[key] != nil })
}

// succeed lets the lanes of a session wait for what runs on of one that has ended, and of those
// which that has waited for.
func (s *Session) succeed(ended *Session) {
	for _, b := range append(slices.Clip(ended.before), ended) {
		if len(b.lanes) > 0 && !slices.Contains(s.before, b) {
			s.before, b.after = append(s.before, b), append(b.after, s)
		}
	}
}

// pass lets the next call of a lane start, in whichever session that is, when the one of an ended
// session has ended, too.
func (d *Domain) pass(ended *Session, key uint64, fx []Effect) []Effect {
	over := len(ended.lanes) == 0
	for _, s := range ended.after {
		if over {
			s.before = slices.DeleteFunc(s.before, func(b *Session) bool { return b == ended })
			d.unleave(s)
		}
		if l := s.lanes[key]; l != nil {
			fx = d.supply(s, s.admit(l, fx))
		}
	}
	if over {
		ended.after = nil
		d.unleave(ended)
	}
	return fx
}

// unleave forgets a session that has ended, if the lanes of others need not wait for it, or for one
// before it.
func (d *Domain) unleave(s *Session) {
	if len(s.lanes) == 0 && len(s.before) == 0 && d.left[s.id] == s {
		delete(d.left, s.id)
	}
}
