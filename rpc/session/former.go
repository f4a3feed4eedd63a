package session

import (
	"slices"
	"time"
)

// former is a session that the client has left, and its server may still know. It is known by its
// table: whatever the server is called when it is there again, by another peer, it has that.
//
// No call is sent to a server that may start calls of before which have their outcome already.
// Such calls are of a former session, which a Hello ends; or of another peer's, that goes on and
// has to confirm a fence first.
//
//	          Dead, lose                 Hello names it         Welcome
//	session ─────────────▶ former, and  ───────────────▶       ─────────▶ ended: calls are sent
//	                       peers of the
//	                       domain are barred
type former struct{ domain, session, secret ID }

// formersMost bounds how many there are: the oldest are forgotten, whose servers have most likely
// forgotten them, too.
const formersMost = 4096

// kinMost bounds how many peers with one domain wait for each other: more are no server that has
// come back, but one that is listed under many names.
const kinMost = 16

// part leaves a session. Who has another one with its server, names it there.
func (p *Peer) part(now time.Duration, out []Demand) []Demand {
	c := p.client
	if !p.welcomed {
		return out // nothing was sent to it
	}
	p.welcomed = false
	if len(c.formers) == formersMost {
		c.formers = slices.Delete(c.formers, 0, 1)
	}
	c.formers = append(c.formers, former{p.domain, p.session, p.secret})
	for _, q := range p.kin {
		if q.up && !q.barred {
			out = q.name(now, out)
		}
	}
	return out
}

// former is the first one that the peer's server may know.
func (p *Peer) former() former {
	for _, f := range p.client.formers {
		if f.domain == p.domain {
			return f
		}
	}
	return former{}
}

// name bars calls if there is a former session to be named, and names it.
func (p *Peer) name(now time.Duration, out []Demand) []Demand {
	if p.barred = p.former() != (former{}); p.barred {
		return p.hello(now, out)
	}
	return out
}

// ended notes that a server has read the name of a former session. It may be another one than
// the session was with, which cannot end it.
func (p *Peer) ended(domain ID) {
	if p.naming != (ID{}) {
		p.client.formers = slices.DeleteFunc(p.client.formers, func(f former) bool {
			return f.session == p.naming && f.domain == domain
		})
		p.naming = ID{}
	}
}

// meet finds the peers that have sessions with the same domain. These confirm what they have closed.
func (p *Peer) meet(now time.Duration, domain ID, out []Demand) []Demand {
	if was := p.domain; was != domain {
		p.domain = domain
		p.client.relate(was)
		p.client.relate(domain)
	}
	for _, q := range p.kin {
		q.fences.needed = q.fences.newest + 1
		out = q.ack(now, out)
	}
	return out
}

// relate makes all peers kin that the domain has welcomed.
func (c *Client) relate(domain ID) {
	if domain == (ID{}) {
		return // of those that were never welcomed
	}
	var all []*Peer
	for _, p := range c.peers {
		if p.domain == domain {
			all = append(all, p)
		}
	}
	for _, p := range all {
		if p.kin = nil; len(all) > kinMost {
			continue
		}
		p.kin = slices.DeleteFunc(slices.Clone(all), func(q *Peer) bool { return p == q })
	}
}

// waits tells whether the server may yet start a call of before that has its outcome.
func (p *Peer) waits() bool {
	for _, q := range p.kin {
		if q.unconfirmed() {
			return true
		}
	}
	return p.barred
}

func (p *Peer) unconfirmed() bool { return p.welcomed && p.fences.confirmed < p.fences.needed }

// outlive ends sessions of others for whose confirmation calls wait, and which cannot be reached.
func (p *Peer) outlive(now time.Duration, out []Demand) []Demand {
	for _, q := range p.kin {
		late := q.missing && now-q.since >= q.client.opt.FailoverAfter
		if q.unconfirmed() && !q.up && (q.open.live == 0 || late) {
			if out = q.lose(now, Expired, out); q.conn != 0 {
				out = q.hello(now, out)
			}
		}
	}
	return out
}
