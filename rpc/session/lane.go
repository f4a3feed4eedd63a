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
// to this lane.
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
	if l.busy != nil || len(l.calls) == 0 {
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
