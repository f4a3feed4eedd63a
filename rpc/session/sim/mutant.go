package sim

import (
	"slices"
	"time"

	"rpcpool.dev/rpc/session"
)

// Mutant is a shell that does something wrong, on purpose. The zero Mutant does
// everything right. Schedules that play a mutant prove that the checks see it.
type Mutant struct {
	Name string
	// Breaks is part of what the checks say of it.
	Breaks string
	// Needs are faults that it takes to see it, and that are else too few.
	Needs []Fault

	onReceive  func(*server, *link, *session.Message)
	onHello    func(*server, time.Duration, *link, *session.Message) (*session.Session, []session.Effect)
	onEffects  func([]session.Effect) []session.Effect
	unasked    bool // calls are run that were not to be started
	onTransmit func(*program, *session.Demand)
	onAnswer   func(*link, *session.Message)
	onLost     func(*link)
	anyConn    bool // replies by any connection are taken
	onSupply   func([][]byte)
}

func (m *Mutant) received(s *server, l *link, msg *session.Message) {
	if m.onReceive != nil {
		m.onReceive(s, l, msg)
	}
}

func (m *Mutant) hello(s *server, now time.Duration, l *link, msg *session.Message) (*session.Session, []session.Effect) {
	if m.onHello != nil {
		return m.onHello(s, now, l, msg)
	}
	return s.domain.Hello(now, l.accept, msg, nil)
}

func (m *Mutant) effects(_ *server, fx []session.Effect) []session.Effect {
	if m.onEffects != nil {
		return m.onEffects(fx)
	}
	return fx
}

func (m *Mutant) start(s *server, now time.Duration, e *session.Entry, c *call) (bool, []session.Effect) {
	xid, args := e.XID(), e.Args
	ok, fx := s.domain.Start(now, e, nil)
	if !ok && m.unasked {
		s.r.truth.started(s, xid, c, args[8:])
	}
	return ok, fx
}

func (m *Mutant) transmit(p *program, d *session.Demand) {
	if m.onTransmit != nil {
		m.onTransmit(p, d)
	}
}

func (m *Mutant) answered(l *link, msg *session.Message) session.Conn {
	if m.onAnswer != nil {
		m.onAnswer(l, msg)
	}
	if m.anyConn && msg.Kind == session.Reply {
		for n := l.client.conns; n > 0; n-- {
			if newest := l.client.links[n]; newest != nil && newest.peer == l.peer {
				return n
			}
		}
	}
	return l.id
}

func (m *Mutant) lost(l *link) {
	if m.onLost != nil {
		m.onLost(l)
	}
}

// Mutants returns one for each thing that the promises rest on.
func Mutants() []Mutant {
	return slices.Concat(serverMutants(), journalMutants(), clientMutants(), needMutants())
}

func serverMutants() []Mutant {
	return []Mutant{
		{
			Name: "the table is forgotten when a client reconnects", Breaks: "second time",
			onHello: func(s *server, now time.Duration, l *link, m *session.Message) (*session.Session, []session.Effect) {
				if m.Greeting.Resume {
					s.domain = session.NewDomain(s.id, s.life, session.DomainOptions{Lease: lease})
					for _, other := range s.links {
						other.session = nil
					}
				}
				return helloAsNew(s, now, l, m)
			},
		},
		{
			Name: "a session that has expired is opened anew", Breaks: "second time",
			onHello: helloAsNew,
		},
		{
			Name: "a cancel is answered although the call may still come", Breaks: "NotExecuted, and ran",
			onReceive: func(_ *server, l *link, m *session.Message) {
				if m.Kind == session.Cancel {
					l.toClient(session.Message{
						Kind: session.Reply, Seq: m.Seq, Code: session.Canceled, Execution: session.NotExecuted,
					})
					m.Kind, m.Seq = session.Ping, 0
				}
			},
		},
		{
			Name: "a deadline is the time left when the call arrives", Breaks: "after its deadline",
			onReceive: func(s *server, _ *link, m *session.Message) {
				if m.Kind == session.Call && m.Time != 0 {
					m.Time = s.clock.now() + 30*time.Millisecond
				}
			},
		},
		{
			Name: "fences are not read", Breaks: "before a later call was made",
			onReceive: func(_ *server, _ *link, m *session.Message) { m.Closed = nil },
		},
		{
			Name: "acks are not read", Breaks: "that nobody asks for",
			onReceive: func(_ *server, _ *link, m *session.Message) { m.Ack, m.Closed = 0, nil },
		},
		{
			Name: "lanes are not heeded", Breaks: "of its lane",
			onReceive: func(_ *server, _ *link, m *session.Message) { m.Lane = 0 },
		},
		{
			Name: "lanes do not wait for sessions that were left", Breaks: "in a session that was left",
			onHello: func(s *server, now time.Duration, l *link, m *session.Message) (*session.Session, []session.Effect) {
				alone, rest := *m.Greeting, *m.Greeting
				alone.Session, alone.Resume = session.ID{}, true // which ends the one before it, and is not there
				_, fx := s.domain.Hello(now, 0, &session.Message{Kind: session.Hello, Greeting: &alone}, nil)
				rest.Former = session.ID{}
				m.Greeting = &rest
				bound, more := s.domain.Hello(now, l.accept, m, nil)
				return bound, append(fx, more...)
			},
		},
		{
			Name: "every call is taken for idempotent", Breaks: "second time",
			onReceive: func(_ *server, _ *link, m *session.Message) { m.Idempotent = true },
		},
		{
			Name: "a queued call is started although it may not", Breaks: "NotExecuted, and ran",
			unasked: true,
		},
		{
			Name: "replies go to any call", Breaks: "reply of another call",
			onEffects: func(fx []session.Effect) []session.Effect {
				for i := range fx {
					if m := &fx[i].Msg; m.Kind == session.Reply && m.Seq > 1 && m.Seq%5 == 0 {
						m.Seq--
					}
				}
				return fx
			},
		},
	}
}

// helloAsNew welcomes any session as one that was always known.
func helloAsNew(s *server, now time.Duration, l *link, m *session.Message) (*session.Session, []session.Effect) {
	g := *m.Greeting
	m.Greeting = &g
	resume := g.Resume
	g.Resume = false
	bound, fx := s.domain.Hello(now, l.accept, m, nil)
	for i := range fx {
		if w := &fx[i].Msg; w.Kind == session.Welcome {
			w.Greeting.Resume = resume
		}
	}
	return bound, fx
}

func journalMutants() []Mutant {
	return []Mutant{
		{
			Name: "the hand-over comes before its record", Breaks: "second time",
			onEffects: func(fx []session.Effect) []session.Effect {
				late := slices.Clone(fx)
				slices.SortStableFunc(late, func(a, b session.Effect) int { return rank(a) - rank(b) })
				return late
			},
		},
		{
			Name: "starts are not journalled", Breaks: "second time",
			onEffects: func(fx []session.Effect) []session.Effect {
				return slices.DeleteFunc(fx, func(e session.Effect) bool {
					return e.Do == session.Append && kindOf(&e) == session.RecordStart
				})
			},
		},
		{
			Name: "the server restarts with an older journal", Breaks: "second time",
			onHello: func(s *server, now time.Duration, l *link, m *session.Message) (*session.Session, []session.Effect) {
				bound, fx := s.domain.Hello(now, l.accept, m, nil)
				s.journal = slices.DeleteFunc(s.journal, func(r session.Record) bool { return r.Kind == session.RecordStart })
				return bound, fx
			},
		},
	}
}

func rank(e session.Effect) int {
	if e.Do == session.Append {
		return 1
	}
	return 0
}

func kindOf(e *session.Effect) session.RecordKind {
	r := e.Record()
	return r.Kind
}

func clientMutants() []Mutant {
	return []Mutant{
		{
			Name: "another domain is taken for the same", Breaks: "second time",
			onHello: helloAsNew,
			onAnswer: func(_ *link, m *session.Message) {
				if m.Kind == session.Welcome {
					g := *m.Greeting
					g.Domain, g.Life = session.ID{}, 0
					m.Greeting = &g
				}
			},
		},
		{
			Name: "another life of a domain is taken for the same", Breaks: "NotExecuted, and ran",
			onAnswer: func(_ *link, m *session.Message) {
				if m.Kind == session.Welcome {
					g := *m.Greeting
					g.Life = 0
					m.Greeting = &g
				}
			},
		},
		{
			Name: "what was sent is said to be unsent", Breaks: "ran",
			onLost: func(l *link) {
				for _, c := range l.client.r.truth.calls {
					if c.program == l.client && !c.done && !c.inv.Idempotent {
						l.client.client.Unsent(l.peer, l.id, c.inv.XID().Seq)
					}
				}
			},
		},
		{
			Name: "a session begins beside the one before it", Breaks: "before a later call was made",
			onTransmit: func(_ *program, d *session.Demand) {
				if d.Msg.Kind == session.Hello {
					d.Msg.Greeting.Former = session.ID{}
				}
			},
		},
		{
			Name: "a session that is found beside the new one is not ended", Breaks: "before a later call was made",
			Needs: []Fault{Leave, Long},
			onTransmit: func(_ *program, d *session.Demand) {
				if d.Msg.Kind == session.Hello && d.Msg.Greeting.Resume {
					d.Msg.Greeting.Former = session.ID{}
				}
			},
		},
		{
			Name: "replies by a connection that is given up are taken", Breaks: "second time",
			Needs:   []Fault{Drain, Second, Long},
			anyConn: true,
		},
		{
			Name: "what is not idempotent fails over", Breaks: "second time",
			onTransmit: func(_ *program, d *session.Demand) {
				if d.Call != nil {
					d.Call.Idempotent = true
				}
			},
		},
		{
			Name: "what is to be sent once is sent again", Breaks: "sent for the second time",
			onTransmit: func(_ *program, d *session.Demand) {
				if d.Call != nil {
					d.Call.Once = false
				}
			},
		},
	}
}
