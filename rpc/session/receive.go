package session

import "time"

// Receive takes a message of a session, from one of its connections. It keeps m's
// Body and Closed.
func (d *Domain) Receive(now time.Duration, s *Session, conn Conn, m *Message, fx []Effect) []Effect {
	if s.ended {
		return append(fx, farewell(s.id, conn))
	}
	if !m.Closed.valid(d.opt.Open) {
		return append(fx, Effect{Do: Close, Conn: conn})
	}
	s.heard = now
	fx = d.close(s, m, fx)
	if m.Closed != nil { // it is sent until it is confirmed
		fx = append(fx, s.tell(conn, Message{Kind: Confirm}))
	}
	switch m.Kind {
	case Call:
		return d.supply(s, d.call(now, s, conn, m, fx))
	case Cancel:
		return d.supply(s, d.cancel(s, conn, m, fx))
	case Bye:
		return d.end(s, fx)
	case Ping:
		return append(fx, s.tell(conn, Message{Kind: Pong, Time: now}))
	case Ack:
		return d.supply(s, fx)
	}
	return append(fx, Effect{Do: Close, Conn: conn})
}

// tell sends a message to the client, with the newest fence that was applied.
func (s *Session) tell(conn Conn, m Message) Effect {
	m.Fence = s.fence.Version
	return Effect{Do: Send, Conn: conn, Msg: m}
}

func (d *Domain) call(now time.Duration, s *Session, conn Conn, m *Message, fx []Effect) []Effect {
	if !m.Needs.valid(m.Seq) {
		return append(fx, Effect{Do: Close, Conn: conn})
	}
	if e := s.window.get(m.Seq); e != nil {
		return d.duplicate(s, e, conn, m, fx)
	}
	if s.closed(m.Seq) {
		d.Counts.Stale++
		return fx
	}
	if d.overrun(s) {
		return append(fx, Effect{Do: Close, Conn: conn})
	}
	e := d.entry(s, m.Seq)
	e.Method, e.Args, e.Deadline, e.Tag = m.Method, m.Body, m.Time, m.Tag
	m.Tag, e.most = nil, m.Runs
	e.sum, e.exact, e.conn, e.idempotent, e.recorded = m.Sum, m.Exact, conn, m.Idempotent, m.Recorded
	e.ordered, e.needs = m.Lane != 0, m.Needs
	e.journalled = d.opt.Journal && (e.ordered || !e.idempotent)
	switch {
	case e.needs == nil && d.poison.has(now, e):
		fx = d.finish(e, Outcome{Code: Poisoned, Execution: NotExecuted}, fx)
	case e.needs != nil && s.needy.bytes+len(e.Args) > d.opt.NeedBytes:
		fx = d.finish(e, Outcome{Code: Refused, Execution: NotExecuted}, fx)
	default:
		fx = s.join(m.Lane, e, fx)
	}
	return d.advance(s, fx)
}

// overrun tells whether a client has more calls here than it may: those that are
// open, and some that have ended and whose end it has not acknowledged yet.
func (d *Domain) overrun(s *Session) bool { return s.window.live >= d.opt.Open+2*heldMost }

// duplicate answers a call that is known. It never runs it, unless that is lost and its
// handler knows whether it has taken place.
func (d *Domain) duplicate(s *Session, e *Entry, conn Conn, m *Message, fx []Effect) []Effect {
	d.Counts.Duplicates++
	if !e.blind && (e.Method != m.Method || e.sum != m.Sum) {
		d.Counts.Misused++
		return append(fx, Effect{Do: Close, Conn: conn})
	}
	e.conn = max(e.conn, conn) // a delayed copy may come by a connection that its client has given up
	if e.state == done && e.recorded && m.Recorded && m.Lane == 0 && e.outcome.Code == Lost {
		e.Args, e.Deadline, e.Tag, e.outcome, e.runs = m.Body, m.Time, m.Tag, Outcome{}, 1
		m.Tag, e.most = nil, m.Runs
		e.needs = m.Needs
		return s.enter(e, fx)
	}
	if e.state == done {
		d.Counts.Answered++
		return append(fx, e.reply(&e.outcome))
	}
	return append(fx, s.tell(conn, Message{Kind: InProgress, Seq: e.seq}))
}

// cancel sees to it that a call does not start any more, and interrupts it if it
// runs. The answer is how it ended, when it has.
func (d *Domain) cancel(s *Session, conn Conn, m *Message, fx []Effect) []Effect {
	e := s.window.get(m.Seq)
	if e == nil {
		if s.closed(m.Seq) {
			d.Counts.Stale++
			return fx
		}
		if d.overrun(s) {
			return append(fx, Effect{Do: Close, Conn: conn})
		}
		e = d.entry(s, m.Seq) // it may still come, by another connection
		e.blind = true
		fx = d.advance(s, fx)
	}
	e.conn = max(e.conn, conn)
	switch e.state {
	case taken:
		e.canceled = true
		return fx
	case running:
		e.canceled = true
		return append(fx, Effect{Do: Interrupt, Entry: e})
	case done:
		return append(fx, e.reply(&e.outcome))
	}
	return d.finish(e, Outcome{Code: Canceled, Execution: e.unrun()}, fx)
}
