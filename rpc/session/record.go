package session

import (
	"iter"
	"time"
)

// RecordKind is what a [Record] says.
type RecordKind uint8

const (
	// RecordOpen says that a session was opened.
	RecordOpen RecordKind = iota + 1
	// RecordStart says that a call is about to be handed over to a worker.
	RecordStart
	// RecordEnd says that a call has its outcome: one that was started, or is in a lane.
	RecordEnd
	// RecordClose says that a session has ended, with all its calls.
	RecordClose
)

// Record is one line of a domain's journal. Idempotent calls are journalled only
// in lanes: another run of them is no harm, but for one after a later call.
type Record struct {
	Kind       RecordKind
	Session    ID
	Secret     ID      // RecordOpen
	Seq        uint64  // RecordStart, RecordEnd
	Method     uint32  // RecordStart, RecordEnd
	Sum        uint64  // RecordStart, RecordEnd
	Idempotent bool    // RecordStart, RecordEnd
	Recorded   bool    // RecordStart, RecordEnd
	Outcome    Outcome // RecordEnd
}

func (s *Session) record(kind RecordKind, e *Entry) Record {
	r := Record{Kind: kind, Session: s.id}
	switch kind {
	case RecordOpen:
		r.Secret = s.secret
	case RecordEnd:
		if r.Outcome = e.outcome; r.Outcome.Blobs > 0 { // they die with this process
			r.Outcome.Code, r.Outcome.Reply, r.Outcome.Blobs = ReplyLost, nil, 0
		}
		fallthrough
	case RecordStart:
		r.Seq, r.Method, r.Sum, r.Idempotent = e.seq, e.Method, e.sum, e.idempotent
		r.Recorded = e.recorded && !e.ordered // in a lane a later call may have run since
	}
	return r
}

// Restore takes one record of the journal of the domain's last life. All of them
// are given in their order, before anything else happens, and after the last
// life's workers have ended. A record that was cut short counts as not written.
func (d *Domain) Restore(now time.Duration, r *Record) {
	s := d.sessions[r.Session]
	switch r.Kind {
	case RecordOpen:
		d.open(now, r.Session, r.Secret)
	case RecordStart:
		if s != nil && !r.Idempotent { // what is idempotent may start again
			d.recall(s, r)
		}
	case RecordEnd:
		if s != nil {
			d.keep(s, d.recall(s, r), r.Outcome)
		}
	case RecordClose:
		if s != nil {
			d.remove(s)
			d.held -= s.held
		}
	}
}

// recall makes the entry of a call that has started: without an end, it is lost.
func (d *Domain) recall(s *Session, r *Record) *Entry {
	e := s.window.get(r.Seq)
	if e == nil {
		e = d.entry(s, r.Seq)
	}
	e.Method, e.sum, e.idempotent, e.recorded = r.Method, r.Sum, r.Idempotent, r.Recorded
	e.state, e.journalled, e.outcome = done, true, Outcome{Code: Lost}
	return e
}

// Records returns what a new journal would have to hold in place of the one that
// was written so far.
func (d *Domain) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for _, s := range d.order {
			more := yield(s.record(RecordOpen, nil))
			s.window.all(func(_ uint64, e *Entry) {
				switch {
				case !more || !e.journalled:
				case e.state == done:
					more = yield(s.record(RecordEnd, e))
				case e.state >= taken:
					more = yield(s.record(RecordStart, e))
				}
			})
			if !more {
				return
			}
		}
	}
}
