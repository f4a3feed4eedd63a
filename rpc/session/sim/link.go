package sim

import (
	"time"

	"rpcpool.dev/rpc/session"
)

// link is one connection: two ordered streams of whole messages. It may be cut,
// and the two ends may learn of that at different times, long after each other,
// while what is under way still arrives.
type link struct {
	w           *world
	client      *program
	incarnation *session.Client // of the client
	server      *server
	peer        *session.Peer
	id          session.Conn // the client's number
	accept      session.Conn // the server's number
	life        uint64       // of the server that it was accepted by

	session        *session.Session // as the server has bound it
	open, accepted bool             // as the client, as the server sees it
	up, down       time.Duration    // when the last message arrives there, and back
	slow           time.Duration    // extra delay
	stalled        bool             // the client's kernel takes nothing
	unsent         []session.Demand
}

// connect makes a link, both ends of which think it is good.
func (w *world) connect(p *program, at *seat, s *server) *link {
	p.conns++
	s.conns++
	l := &link{
		w: w, client: p, incarnation: p.client, server: s, peer: at.peer, id: p.conns, accept: s.conns, life: s.life,
		open: true, accepted: true, up: w.now, down: w.now,
	}
	if w.one(3) {
		l.slow = w.between(time.Millisecond, slowMost)
	}
	if w.fault(Cut, 1) {
		w.after(w.between(0, 300*time.Millisecond), l.cut)
	}
	if w.fault(Stall, 4) {
		w.after(w.between(0, 100*time.Millisecond), l.stall)
	}
	p.links[l.id], at.link = l, l
	s.links[l.accept] = l
	return l
}

// arrival is when a message that is sent now arrives: not before the one before it.
func (l *link) arrival(last *time.Duration) time.Duration {
	t := l.w.now + l.w.between(20*time.Microsecond, 300*time.Microsecond) + l.slow
	if l.w.fault(Delay, 20) {
		most := 100 * time.Millisecond
		if l.w.one(4) {
			most = lease
		}
		t += l.w.between(0, most)
	}
	if heals := l.server.apart[l.client]; heals > l.w.now {
		t += heals - l.w.now
	}
	*last = max(t, *last)
	return *last - l.w.now
}

// toServer transmits what a client wants transmitted.
func (l *link) toServer(d *session.Demand) {
	if !l.open {
		return
	}
	if l.stalled {
		l.unsent = append(l.unsent, *d)
		return
	}
	if d.Call != nil {
		l.client.r.truth.sent(l.client.r.truth.of(d.Call))
	}
	m := d.Msg
	l.server.when(l.arrival(&l.up), func() {
		if l.accepted && l.life == l.server.life && l.server.running {
			l.server.receive(l, &m)
		}
	})
}

// toClient sends what a server wants sent.
func (l *link) toClient(m session.Message) {
	if !l.accepted {
		return
	}
	incarnation := l.client.client
	l.client.when(l.arrival(&l.down), func() {
		if l.open && l.client.client == incarnation {
			l.client.receive(l, &m)
		}
	})
}

// cut breaks a link in one of the ways in which links break.
func (l *link) cut() {
	late := l.w.between(0, 600*time.Millisecond)
	switch l.w.rng.IntN(3) {
	case 0: // both ends know, and nothing that was under way arrives
		l.w.logf("cut %d", l.id)
		l.accepted = false
		l.closed(0)
	case 1: // the client knows; the server goes on, and takes what was under way
		l.w.logf("cut %d: the client knows", l.id)
		l.closed(0)
		l.w.after(late, func() { l.accepted = false })
	case 2: // the server knows; the client waits for an answer that cannot come
		l.w.logf("cut %d: the server knows", l.id)
		l.accepted = false
		l.closed(late)
	}
}

// closed lets the client know that a link is lost.
func (l *link) closed(after time.Duration) {
	p := l.client
	incarnation := p.client
	p.when(after, func() {
		if l.open && p.client == incarnation {
			l.open = false
			delete(p.links, l.id)
			p.lost(l)
		}
	})
}

// stall lets the client's kernel take nothing for a while.
func (l *link) stall() {
	l.stalled = true
	l.w.after(l.w.between(0, 200*time.Millisecond), func() {
		l.stalled = false
		unsent := l.unsent
		l.unsent = nil
		for i := range unsent {
			l.toServer(&unsent[i])
		}
	})
}
