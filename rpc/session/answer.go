package session

import (
	"time"

	"rpcpool.dev/internal/fifo"
)

// Receive takes a message of a peer. It keeps m's Body. What comes by a connection
// that is not the newest is ignored: it may be of an earlier life of the server, and
// no longer true. All that is open is asked for again by the newest.
func (c *Client) Receive(now time.Duration, p *Peer, conn Conn, m *Message, out []Demand) []Demand {
	if conn != p.conn {
		return out
	}
	if m.Fence > p.fences.confirmed {
		p.fences.confirmed = m.Fence
		for _, q := range p.kin {
			out = q.pump(now, out)
		}
	}
	switch m.Kind {
	case Welcome:
		return p.welcome(now, m, out)
	case Reply:
		return p.reply(now, m, out)
	case Started:
		if i := p.open.get(m.Seq); i != nil {
			i.started = true
		}
	case Pong:
		if p.pinging { // else it is older than the last Hello
			p.heard(now, m)
		}
	case Gone:
		if m.Greeting.Session == p.session {
			return p.hello(now, p.lose(now, Expired, out))
		}
	case Full:
		return c.Unreachable(now, p, out)
	case InProgress, Confirm:
	}
	return out
}

// heard notes the server's answer to Hello or Ping: the lease runs from when that
// was sent, and the server's clock shows at least what it says.
func (p *Peer) heard(now time.Duration, m *Message) {
	p.renewed, p.pinging = p.greeted, false
	p.serverAt, p.clientAt = m.Time, now
}

// welcome takes the session up on a new connection: what was sent is sent again, or asked after. Or it
// says that a former session has ended.
func (p *Peer) welcome(now time.Duration, m *Message, out []Demand) []Demand {
	if m.Greeting.Session != p.session {
		return out
	}
	h := m.Greeting
	p.ended(h.Domain)
	if p.welcomed && (!h.Resume || h.Domain != p.domain) {
		return p.hello(now, p.lose(now, Lost, out))
	}
	restarted := p.welcomed && h.Life != p.life
	if !p.welcomed {
		out = p.meet(now, h.Domain, out)
	}
	again := !p.up
	p.welcomed, p.domain, p.life = true, h.Domain, h.Life
	p.up, p.missing, p.pause = true, false, 0
	p.heard(now, m)
	if again {
		out = p.resume(now, restarted, out)
	}
	return p.pump(now, p.name(now, out))
}

// resume sends what was sent again.
func (p *Peer) resume(now time.Duration, restarted bool, out []Demand) []Demand {
	if restarted && len(p.kept) > 0 { // those may be gone, and would be waited for
		p.drop()
		p.fences.needed = p.fences.newest + 1
	}
	p.open.all(func(_ uint64, i *Invocation) {
		if restarted && i.exposed && i.Idempotent {
			i.ran = true // which no journal tells
		}
		if i.Once && i.state == sent && i.exposed {
			i.state, i.why = canceling, Lost // the server says whether it ran, and lets it not start
		}
		if i.state == canceling {
			out = p.cancel(now, i, out)
			return
		}
		if i.recalled = i.recalled || i.refs != nil && !p.refers; i.recalled {
			// once it is, for good: the server may have run later ones of its lane since
			out = p.cancel(now, i, out)
			return
		}
		out = p.transmit(now, i, out)
	})
	return out
}

// lose starts another session: the server does not know this one any more, and
// what of it has run.
func (p *Peer) lose(now time.Duration, code Code, out []Demand) []Demand {
	p.client.Counts.Lost++
	p.up = false
	var again fifo.List[*Invocation]
	p.open.all(func(_ uint64, i *Invocation) {
		if i.exposed && !i.repeatable() {
			i.Outcome = Outcome{Code: code}
			out = p.finish(i, out)
			return
		}
		p.open.del(i.seq)
		i.unrefer()
		i.ran = i.ran || i.exposed
		i.state, i.session, i.seq, i.exposed, i.recalled = pending, ID{}, 0, false, false
		again.PushBack(&i.place)
	})
	for i := p.queue.Pop(); i != nil; i = p.queue.Pop() {
		again.PushBack(&i.place)
	}
	p.queue = again
	out = p.part(now, out)
	p.renew()
	return out
}

func (p *Peer) reply(now time.Duration, m *Message, out []Demand) []Demand {
	i := p.open.get(m.Seq)
	if i == nil {
		p.client.Counts.Late++
		return out
	}
	p.settle(i, m.Code == OK)
	switch {
	case i.state == sent && i.unmet(m):
		i.alone = true
		out = p.route(i, out)
	case i.state == sent && m.Code == Refused && !i.Once && i.attempts < p.client.opt.Attempts &&
		(m.Execution == NotExecuted || i.Idempotent):
		i.ran = i.ran || m.Execution != NotExecuted
		i.Outcome = Outcome{Code: Refused, Execution: m.Execution, Reply: m.Body}
		out = p.route(i, out)
	case i.state == sent && m.Code == DeadlineExceeded && i.ran && now < i.Deadline:
		i.peer, i.state = nil, routing // where it was before, it may start until Cancel says the same
	default:
		i.Outcome = Outcome{Code: m.Code, Execution: m.Execution, Reply: m.Body, Blobs: m.Blobs}
		if i.state == canceling && (m.Code == Canceled || m.Code == DeadlineExceeded || m.Code == Unmet) {
			i.Outcome.Code = i.why
		}
		out = i.finish(out)
	}
	if p.held >= heldMost {
		out = p.ack(now, out)
	}
	return p.pump(now, out)
}

// settle closes a call that the server has answered. Its result is kept there while others
// need it.
func (p *Peer) settle(i *Invocation, keep bool) {
	p.open.del(i.seq)
	switch {
	case keep && i.promise != nil && i.promise.users > 0:
		p.keep(i)
	case i.seq > p.watermark():
		p.held++
	}
	i.unrefer()
}

// abandon closes a call that the server has not answered: it must be told before
// it considers a later one.
func (p *Peer) abandon(i *Invocation) {
	p.settle(i, false)
	if i.seq > p.watermark() || len(p.kin) > 0 {
		p.fences.needed = p.fences.newest + 1
	}
}

// finish ends a call without an answer of the server.
func (p *Peer) finish(i *Invocation, out []Demand) []Demand {
	if i.seq != 0 {
		p.abandon(i)
	} else {
		p.queue.Remove(&i.place)
	}
	return i.finish(out)
}

// route takes a call away from this peer.
func (p *Peer) route(i *Invocation, out []Demand) []Demand {
	i.state = routing
	i.peer = nil
	return append(out, Demand{Want: Route, Peer: p, Call: i})
}

// leave takes away all calls that may go, those first that were sent first.
func (p *Peer) leave(may func(*Invocation) bool, out []Demand) []Demand {
	p.open.all(func(_ uint64, i *Invocation) {
		if may(i) {
			p.abandon(i)
			i.ran = i.ran || i.exposed
			out = p.route(i, out)
		}
	})
	for i := p.queue.Pop(); i != nil; i = p.queue.Pop() { // never exposed
		out = p.route(i, out)
	}
	return out
}

func (p *Peer) tick(now time.Duration, out []Demand) []Demand {
	o := &p.client.opt
	if p.up {
		switch quiet := now-p.spoken >= o.AckDelay; {
		case !p.pinging && now-p.renewed >= p.lease/4:
			p.greeted, p.pinging = now, true
			out = p.send(now, nil, Message{Kind: Ping}, out)
		case quiet && (p.held > 0 || p.acked < p.watermark()):
			out = p.ack(now, out)
		}
		if p.queue.Len() > 0 {
			out = p.outlive(now, out)
		}
		return out
	}
	if p.missing && now-p.since >= o.FailoverAfter {
		out = p.leave((*Invocation).movable, out)
	}
	return p.dial(now, out)
}
