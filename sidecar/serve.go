package sidecar

import (
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// This file is the path of one session: begin, assign, the ways it is ended
// early, finish.

// begin takes in a client that has the ticket. It was told that it is in, so
// from here on it is told how its session ended, whatever comes.
func (c *core) begin(a admitted, now time.Time) {
	if c.current != nil { // a probe, of an agent that is new since the ticket was claimed
		c.early = &a
		return
	}
	socket, err := newPeerSocket(a.conn)
	if err != nil {
		c.options.Logger.Error("client that was let in is lost", "client", a.client, "error", err)
	}
	if err != nil || socket.gone() {
		if err == nil {
			socket.Close()
		}
		c.offerAgain()
		return
	}
	s := &session{id: newID(), client: a.client, began: now, socket: socket}
	s.oomBefore, s.oomKnown = supervise.OOMKills()
	s.timeout, s.clamped = c.options.sessionTimeout(a.hello)
	if err := c.watch(s); err != nil {
		c.options.Logger.Warn("cannot watch the client", "session", s.id, "error", err)
	}
	c.current = s
	c.meter.offer(offerUsed)
	if c.drained || c.leaving {
		c.finish(supervise.Report{Cause: supervise.CauseKilledDrain, Code: -1}, now)
		return
	}
	c.assign(now)
}

// beginEarly takes in a client that came before the core was ready for it.
func (c *core) beginEarly(now time.Time) {
	if a := c.early; a != nil && c.current == nil {
		c.early = nil
		c.begin(*a, now)
	}
}

// dropUnserved ends a session that waits for a worker when none will come: its
// agent is stopping, or is gone and need not be waited for because the server
// stops as well.
func (c *core) dropUnserved(now time.Time) {
	s := c.current
	if s == nil || s.probe != nil || !s.handed.IsZero() {
		return
	}
	if c.leaving || c.drained && c.link == nil {
		c.finish(supervise.Report{Cause: supervise.CauseKilledDrain, Code: -1}, now)
	}
}

// watch has the core told when the session's client goes away.
func (c *core) watch(s *session) error {
	over := make(chan struct{})
	stop, err := s.socket.watch(func() {
		select {
		case c.gone <- s.id:
		case <-over:
		}
	})
	if err != nil {
		s.unwatch = func() {}
		return err
	}
	s.unwatch = func() { close(over); stop() }
	return nil
}

// assign hands the session that waits to a worker, if there is one.
func (c *core) assign(now time.Time) {
	s := c.current
	if s == nil || !s.handed.IsZero() || c.link == nil {
		return
	}
	worker, cold, ok := c.crew.Take(now, s.probe != nil)
	if !ok {
		return // handed over when a worker is ready; see killTime
	}
	s.worker, s.handed = worker, now
	spec := s.spec(c.options.Key)
	spec.Memo = c.memo(s)
	var err error
	if cold {
		err = c.link.Start(worker, c.options.start(), &spec, s.socket.fd)
	} else {
		err = c.link.Session(worker, spec, s.socket.fd)
	}
	if s.probe != nil {
		s.socket.Close() // so that our end sees the worker's close
	}
	if err != nil { // the link is ending; its end ends the session
		c.options.Logger.Warn("cannot hand over", "session", s.id, "worker", worker, "error", err)
	}
}

// clientGone gives the worker a moment to notice by itself: after an orderly
// end it is already on its way out.
func (c *core) clientGone(id string, now time.Time) {
	s := c.current
	if s == nil || s.id != id {
		return
	}
	s.gone, s.leftFirst = now, s.socket.leftFirst()
	if s.handed.IsZero() { // nobody to tell
		c.finish(supervise.Report{Cause: supervise.CauseClientGone, Code: -1}, now)
	}
}

// killTime is when the session is to be ended by us, and why. Its deadline is
// not here: the agent keeps that, so that it holds even if we are dead.
func (c *core) killTime() (at time.Time, why supervise.Cause) {
	s := c.current
	sooner := func(t time.Time, cause supervise.Cause) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at, why = t, cause
		}
	}
	if !s.killing.IsZero() {
		return time.Time{}, ""
	}
	sooner(s.drainAt, supervise.CauseKilledDrain)
	if !s.gone.IsZero() {
		sooner(s.gone.Add(c.options.KillGrace), supervise.CauseClientGone)
	}
	if s.handed.IsZero() {
		sooner(s.began.Add(c.options.StartTimeout), supervise.CauseStartFailed)
	}
	return at, why
}

// patience is how long a kill may take until the agent has something to say.
func (c *core) patience() time.Duration {
	d := c.options.KillGrace + c.options.ReapTimeout + answerTime
	if c.options.Dump != 0 {
		d += supervise.DumpTime
	}
	return d
}

// startPatience is how long the agent may be silent about a start.
func (c *core) startPatience() time.Duration {
	return supervise.MaxStartExtension*c.options.StartTimeout + c.patience()
}

// startsHang tells whether the agent has been silent about a start for longer
// than any may take. It is given up for that, too: nothing else would ever end
// it.
func (c *core) startsHang(now time.Time) bool {
	for _, began := range c.started {
		if now.Sub(began) > c.startPatience() {
			return c.link != nil
		}
	}
	return false
}

// giveUpTime is when the agent must have said how the session's worker ended,
// or at least that it does not die. An agent that is silent then is hung: a
// program under test can stop it.
func (c *core) giveUpTime() (at time.Time, why supervise.Cause) {
	s := c.current
	patience := c.patience()
	switch {
	case s.cleaning: // which may take a while, and the tree is gone
		return time.Time{}, ""
	case c.link != nil && s.overdue == "" && !s.handed.IsZero() && !s.taken && !s.foreign:
		return s.handed.Add(takeTime), supervise.CauseStartFailed
	case s.handed.IsZero() || c.link == nil || s.overdue != "":
		return time.Time{}, ""
	case !s.killing.IsZero():
		return s.killing.Add(patience), s.why
	case s.timeout > 0:
		return s.handed.Add(s.timeout + patience), supervise.CauseTimeout
	default:
		return time.Time{}, ""
	}
}

// endOverdue ends the session if its time has come.
func (c *core) endOverdue(now time.Time) {
	if c.startsHang(now) {
		c.giveUpAgent(supervise.CauseStartFailed)
		return
	}
	if c.current == nil {
		return
	}
	if at, why := c.giveUpTime(); !at.IsZero() && !now.Before(at) {
		c.giveUpAgent(why)
		return
	}
	at, why := c.killTime()
	if at.IsZero() || now.Before(at) {
		return
	}
	s := c.current
	if s.handed.IsZero() {
		_, reason := c.crew.Health()
		c.finish(supervise.Report{Cause: why, Code: -1, Error: "no worker became ready: " + reason}, now)
		return
	}
	s.killing, s.why = now, why
	c.crew.Terminating(s.worker)
	if c.link != nil {
		_ = c.link.Kill(s.worker, supervise.Kill{Cause: why, Grace: c.options.KillGrace})
	}
}

// giveUpAgent ends the link to an agent that does not answer. Whoever started
// it kills it, and its workers die with it; the end of the link ends the
// session.
func (c *core) giveUpAgent(why supervise.Cause) {
	c.options.Logger.Error("agent does not answer: giving it up")
	clear(c.started)
	if c.current != nil {
		c.current.overdue = why
	}
	select {
	case c.hung <- struct{}{}:
	default:
	}
	c.link.Abandon()
}

// finish ends the session: the worker's tree is gone (or never was, or never
// will be, or survives the session in order), and the client learns how, off the
// path of the next session.
func (c *core) finish(r supervise.Report, now time.Time) {
	s := c.current
	if s.probe != nil {
		c.judge(s, r, now)
		return
	}
	c.current = nil
	if served := !s.handed.IsZero() && c.link != nil; served && r.Cause != supervise.CauseStartFailed && r.Cause != supervise.CauseUnkillable {
		c.crew.Healthy()
		c.crew.Proved(s.worker)
	}
	s.unwatch()
	if !s.foreign {
		c.tickets.Release()
	}
	c.conclude(s, r, now)
}

// conclude tells the client how its session ended, and puts it on record.
func (c *core) conclude(s *session, r supervise.Report, now time.Time) {
	e := s.endOf(r)
	var t traffic
	if s.socket != nil {
		t = s.socket.traffic()
		c.farewell(s, e)
	}
	c.meter.session(e, t, s.clamped, now.Sub(s.began))
	s.record(c.options.Logger, e, t, now)
}

// farewell tells the client how its session ended, and closes.
func (c *core) farewell(s *session, e end) {
	if e.cause == supervise.CauseCompleted || e.cause == supervise.CauseClientGone {
		s.socket.Close()
		return
	}
	flavour := c.flavour
	if s.foreign {
		flavour = s.flavour
	}
	packet := s.farewellPacket(e, flavour)
	c.farewells.Go(func() {
		s.socket.farewell(packet, farewellTime)
		s.socket.Close()
	})
}
