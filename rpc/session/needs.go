package session

import (
	"slices"
	"time"
)

// MaxNeeds is how many results one call may need.
const MaxNeeds = 8

// Needs are the calls of the same session whose results are to be in a call's arguments, by
// sequence number, in the order in which the arguments want them. All are lower than the call's.
type Needs struct{ Calls []uint64 }

// valid tells whether a call may need these.
func (n *Needs) valid(seq uint64) bool {
	if n == nil {
		return true
	}
	for _, need := range n.Calls {
		if need == 0 || need >= seq {
			return false
		}
	}
	return len(n.Calls) > 0 && len(n.Calls) <= MaxNeeds
}

// needy are the entries of a session that may start but for results of others, ascending. An
// entry needs only what comes before it, so to go through them once is enough however long
// the chains are.
type needy struct {
	entries []*Entry
	bytes   int  // of their arguments
	busy    bool // somebody goes through them
}

// add puts an entry in its place.
func (n *needy) add(e *Entry) {
	i, _ := slices.BinarySearchFunc(n.entries, e.seq, func(e *Entry, seq uint64) int {
		if e.seq < seq {
			return -1
		}
		return 1
	})
	n.entries = slices.Insert(n.entries, i, e)
	n.bytes += len(e.Args)
}

// remove takes an entry out, if it is there.
func (n *needy) remove(e *Entry) {
	if i := slices.Index(n.entries, e); i >= 0 {
		n.entries = slices.Delete(n.entries, i, i+1)
		n.bytes -= len(e.Args)
	}
}

// enter lets an entry start whose turn it is; if it needs results, when these are there.
func (s *Session) enter(e *Entry, fx []Effect) []Effect {
	if e.needs != nil {
		e.state = waiting
		s.needy.add(e)
		return fx
	}
	e.state, e.queuedUp = queued, true
	return append(fx, Effect{Do: Queue, Entry: e})
}

// supply lets those entries start whose results are there now, and ends those that will
// not get theirs.
func (d *Domain) supply(s *Session, fx []Effect) []Effect {
	n := &s.needy
	if len(n.entries) == 0 || n.busy {
		return fx
	}
	n.busy = true
	for i := 0; i < len(n.entries); {
		e := n.entries[i]
		met, code, why := s.meets(e)
		switch {
		case code != OK:
			fx = d.finish(e, Outcome{Code: Unmet, Execution: e.unrun(), Reply: why}, fx)
		case met:
			n.remove(e)
			e.state, e.queuedUp = queued, true
			fx = append(fx, Effect{Do: Queue, Entry: e})
		default:
			i++
		}
	}
	n.busy = false
	return fx
}

// whyMost bounds what an entry keeps of the failure of another one, in bytes.
const whyMost = 4 << 10

// meets tells whether all results are there that an entry needs; or, with another code than OK,
// that one of them is not and will not be, and what is known of that.
func (s *Session) meets(e *Entry) (met bool, code Code, why []byte) {
	met = true
	for _, seq := range e.needs.Calls {
		x := s.window.get(seq)
		switch {
		case x == nil && s.closed(seq):
			return false, Unmet, nil
		case x == nil || x.state != done:
			met = false
		case x.outcome.Code != OK:
			if len(x.outcome.Reply) <= whyMost {
				why = slices.Clone(x.outcome.Reply)
			}
			return false, x.outcome.Code, why
		case x.outcome.Blobs > 0: // its client has it, or a part of it, elsewhere
			return false, Unmet, nil
		}
	}
	return met, OK, nil
}

// overdue ends entries that wait for results, and for which it is too late.
func (d *Domain) overdue(now time.Duration, s *Session, fx []Effect) []Effect {
	for i := len(s.needy.entries) - 1; i >= 0; i-- {
		if i >= len(s.needy.entries) {
			continue // those behind it have ended with it
		}
		if e := s.needy.entries[i]; e.Deadline != 0 && now >= e.Deadline {
			fx = d.finish(e, Outcome{Code: DeadlineExceeded, Execution: e.unrun()}, fx)
		}
	}
	return fx
}

// Needy tells whether an entry's arguments want results of others. The shell puts them in,
// when the entry is queued: see [Domain.Results].
func (e *Entry) Needy() bool { return e.needs != nil }

// Results appends the results that a queued entry needs, in their order. They are good until
// the next event. It returns false if one is not there any more: the entry is to be refused
// then, as [Unmet].
func (d *Domain) Results(e *Entry, dst [][]byte) ([][]byte, bool) {
	if e.state == gone {
		return dst, true // nobody wants it any more
	}
	if met, code, _ := e.session.meets(e); !met || code != OK {
		return dst, false
	}
	for _, seq := range e.needs.Calls {
		dst = append(dst, e.session.window.get(seq).outcome.Reply)
	}
	return dst, true
}

// Supplied says that an entry's arguments are whole now. exact is their checksum, by which it
// is told which calls kill their workers.
func (e *Entry) Supplied(args []byte, exact uint64) {
	e.Args, e.exact, e.needs = args, exact, nil
}
