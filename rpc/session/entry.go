package session

import "time"

type entryState uint8

const (
	waiting entryState = iota + 1 // for its turn in a lane
	queued                        // for a worker
	taken                         // by a worker; its start is being journalled
	running
	done
	gone
)

// Entry is what a domain knows of one call. The shell has it from Queue until
// Take or Refuse, and from there until Start says no, or Return, Crash or Unstarted.
type Entry struct {
	Method   uint32
	Args     []byte
	Deadline time.Duration // on the server's clock; 0: none
	Tag      any           // the shell's own
	// Memory is what the reply is in that is about to be given to Return or Decline. The
	// table releases it when it gives the reply up. It is mostly nil.
	Memory Memory
	// Blobs is how many blobs the reply names that is about to be given to Return.
	Blobs uint8

	session    *Session
	seq        uint64
	sum, exact uint64
	conn       Conn // where the answer goes
	lane       *lane
	needs      *Needs // that it has not got; nil: its arguments are whole
	state      entryState
	runs, most int // most: of runs; 0: as the domain has it
	outcome    Outcome
	idempotent bool
	recorded   bool // its handler knows whether it has taken place
	blind      bool // was cancelled before it came: what it calls is not known
	queuedUp   bool // the shell has it in its queue
	canceled   bool // it was cancelled after it was taken: it does not start again
	orphan     bool // nobody waits for it
	ordered    bool // it is in a lane
	journalled bool // its start is, and its end
}

// XID is the call's identity, for handlers that recognise duplicates themselves.
func (e *Entry) XID() XID { return XID{e.session.id, e.seq} }

func (d *Domain) entry(s *Session, seq uint64) *Entry {
	var e *Entry
	if n := len(d.free); n > 0 {
		e, d.free = d.free[n-1], d.free[:n-1]
	} else {
		e = new(Entry)
	}
	e.session, e.seq = s, seq
	s.window.put(seq, e)
	return e
}

// Unwanted tells whether nobody hears how a running entry ends.
func (e *Entry) Unwanted() bool { return e.orphan }

// Canceled tells whether the client has cancelled an entry that the server had taken.
func (e *Entry) Canceled() bool { return e.canceled }

// Last says that an entry must not be run again.
func (e *Entry) Last() { e.most = 1 }

// Take says that there is a free worker for a queued entry. Execute is among the
// effects if the entry may start; if not, the worker is still free.
func (d *Domain) Take(now time.Duration, e *Entry, fx []Effect) []Effect {
	if !d.dequeue(e) {
		return fx
	}
	if code := d.hindrance(now, e); code != OK {
		return d.finish(e, Outcome{Code: code, Execution: e.unrun()}, fx)
	}
	e.state = taken
	if e.journalled {
		fx = append(fx, Effect{Do: Append, kind: RecordStart, session: e.session, entry: e})
	}
	return append(fx, Effect{Do: Execute, Entry: e})
}

// Start is asked when Execute is carried out, which may be a while after Take: it
// tells whether the call is to be handed over to its worker now. If not, the
// worker is free.
func (d *Domain) Start(now time.Duration, e *Entry, fx []Effect) (bool, []Effect) {
	if code := d.hindrance(now, e); code != OK || e.orphan {
		return false, d.finish(e, Outcome{Code: code, Execution: e.unrun()}, fx)
	}
	e.state = running
	e.runs++
	return true, fx
}

// hindrance is why an entry must not start, OK if it may.
func (d *Domain) hindrance(now time.Duration, e *Entry) Code {
	switch {
	case e.canceled:
		return Canceled
	case e.Deadline != 0 && now >= e.Deadline:
		return DeadlineExceeded
	case d.poison.has(now, e):
		return Poisoned
	}
	return OK
}

// Refuse ends a queued entry that the server does not want to run: it is busy or
// drains ([Refused]: another server may take it), or it has no such method
// ([Unimplemented]). reply is what more there is to say.
func (d *Domain) Refuse(e *Entry, code Code, reply []byte, fx []Effect) []Effect {
	if !d.dequeue(e) {
		return fx
	}
	return d.finish(e, Outcome{Code: code, Execution: e.unrun(), Reply: reply}, fx)
}

// Unwritten says that the record of e's start could not be written: Decline is to follow. The end of
// what did not start needs none, but in a lane, where a later call may run.
func (e *Entry) Unwritten() { e.journalled = e.ordered }

// Decline ends an entry that was taken, or started, but did not run: its start could
// not be journalled, or its worker has found that it cannot run such a call.
func (d *Domain) Decline(e *Entry, code Code, reply []byte, fx []Effect) []Effect {
	if e.state == running {
		e.runs--
	}
	return d.finish(e, Outcome{Code: code, Execution: e.unrun(), Reply: reply}, fx)
}

// dequeue takes an entry back from the shell's queue, and tells whether it may
// still start.
func (d *Domain) dequeue(e *Entry) bool {
	e.queuedUp = false
	if e.state == gone {
		*e = Entry{}
		d.free = append(d.free, e)
		return false
	}
	return e.state == queued
}

// unrun is the truth on a call that was not started this time.
func (e *Entry) unrun() Execution {
	if e.runs > 0 {
		return Indeterminate
	}
	return NotExecuted
}

// Unstarted says that a call was not handed over, because its worker had died before
// anything of it reached it.
func (d *Domain) Unstarted(e *Entry, fx []Effect) []Effect {
	e.runs--
	if e.orphan || e.canceled {
		return d.finish(e, Outcome{Code: Canceled, Execution: e.unrun()}, fx)
	}
	return d.requeue(e, fx)
}

// Return says that the handler of a running call has returned: with a result (OK)
// or with an error (Failed).
func (d *Domain) Return(e *Entry, code Code, reply []byte, fx []Effect) []Effect {
	return d.finish(e, Outcome{Code: code, Execution: Executed, Reply: reply, Blobs: e.Blobs}, fx)
}

// Doubt ends a running entry of which its handler cannot say whether it has taken place.
func (d *Domain) Doubt(e *Entry, code Code, reply []byte, fx []Effect) []Effect {
	return d.finish(e, Outcome{Code: code, Reply: reply}, fx)
}

// Crash says that the worker of a running call has died. report is what is known
// of it. If other calls ran in the same worker, which of them has killed it is not
// known: guilty is true for the likely ones.
func (d *Domain) Crash(now time.Duration, e *Entry, guilty bool, report []byte, fx []Effect) []Effect {
	if guilty {
		d.poison.strike(now, e)
	}
	if !e.orphan && !e.canceled && (e.idempotent || e.recorded) && e.runs < or(e.most, d.opt.Runs) && !d.poison.has(now, e) {
		return d.requeue(e, fx)
	}
	return d.finish(e, Outcome{Code: Crashed, Reply: report}, fx)
}

func (d *Domain) requeue(e *Entry, fx []Effect) []Effect {
	e.state, e.queuedUp = queued, true
	return append(fx, Effect{Do: Queue, Entry: e})
}

// Notice says that a call has been running for so long that its client should
// know that it has started.
func (d *Domain) Notice(e *Entry, fx []Effect) []Effect {
	if e.state != running || e.orphan {
		return fx
	}
	return append(fx, e.session.tell(e.conn, Message{Kind: Started, Seq: e.seq}))
}

// finish gives an entry its outcome: it is journalled, then sent. That of a call that
// did not start needs no record: it may start after a restart, if its client has
// not heard of its end. But not in a lane, where a later call may have run since.
func (d *Domain) finish(e *Entry, o Outcome, fx []Effect) []Effect {
	s := e.session
	if e.orphan {
		return d.bury(e, fx)
	}
	started := e.state >= taken
	if e.needs != nil {
		s.needy.remove(e)
		e.needs = nil
	}
	reply := e.reply(&o) // in full, whatever of it is kept
	d.keep(s, e, o)
	if e.journalled && (e.ordered || started) {
		fx = append(fx, Effect{Do: Append, kind: RecordEnd, session: s, entry: e})
	}
	return d.supply(s, s.leave(e, append(fx, reply)))
}

// keep stores an outcome, and drops the oldest replies if they are too many.
func (d *Domain) keep(s *Session, e *Entry, o Outcome) {
	e.state, e.outcome, e.Args = done, o, nil
	s.held += len(o.Reply)
	d.held += len(o.Reply)
	if s.held <= d.opt.ReplyBytes && d.held <= d.opt.DomainBytes {
		return
	}
	s.window.all(func(_ uint64, old *Entry) {
		if old != e && (s.held > d.opt.ReplyBytes || d.held > d.opt.DomainBytes) {
			d.lose(s, old)
		}
	})
	if d.held > d.opt.DomainBytes {
		d.lose(s, e) // others have used it up
	}
}

// lose drops a reply to stay within the budget.
func (d *Domain) lose(s *Session, e *Entry) {
	if len(e.outcome.Reply) == 0 {
		return
	}
	d.drop(s, e)
	d.Counts.Dropped++
	if e.outcome.Execution == Executed {
		e.outcome.Code = ReplyLost
	}
}

func (e *Entry) reply(o *Outcome) Effect {
	fx := e.session.tell(e.conn, Message{
		Kind: Reply, Seq: e.seq, Code: o.Code, Execution: o.Execution, Body: o.Reply, Blobs: o.Blobs,
	})
	fx.Entry = e
	if e.Memory == nil || len(o.Reply) == 0 {
		return fx
	}
	if l, is := e.Memory.(Lender); is {
		fx.Msg.Memory = l.Lend()
	} else {
		e.Memory.Retain()
		fx.Msg.Memory = e.Memory
	}
	return fx
}

// release gives the reply's memory back.
func (e *Entry) release() {
	if e.Memory != nil {
		e.Memory.Release()
		e.Memory = nil
	}
}

// bury ends a run that nobody waits for.
func (d *Domain) bury(e *Entry, fx []Effect) []Effect {
	s, l := e.session, e.lane
	s.orphans--
	if fx = s.leave(e, fx); s.ended && l != nil {
		fx = d.pass(s, l.key, fx)
	}
	e.release()
	*e = Entry{}
	d.free = append(d.free, e)
	return d.supply(s, fx)
}
