package session

import (
	"slices"
	"time"
)

// ClientOptions are how a [Client] goes about its calls. Rand is needed; the rest
// has defaults.
type ClientOptions struct {
	Rand  Rand
	Lease time.Duration // of servers that do not say their lease: 5 min
	Open  int           // how many calls may be open at one server, if it allows so many: 512; 1 makes a session serial
	// FailoverAfter is how long a server may be out of reach until idempotent calls
	// that were sent to it are sent to another: 3 s.
	FailoverAfter time.Duration
	Attempts      int // how many servers are tried for a call: 3
	// RedialLeast and RedialMost bound the pause between two dials of a server: it
	// doubles from one (5 ms) to the other (1 s), ±20 %.
	RedialLeast, RedialMost time.Duration
	AckDelay                time.Duration // how long a server may be left without an ack: 100 ms
}

func (o ClientOptions) withDefaults() ClientOptions {
	return ClientOptions{
		Rand:          o.Rand,
		Lease:         or(o.Lease, 5*time.Minute),
		Open:          or(o.Open, 512),
		FailoverAfter: or(o.FailoverAfter, 3*time.Second),
		Attempts:      or(o.Attempts, 3),
		RedialLeast:   or(o.RedialLeast, 5*time.Millisecond),
		RedialMost:    or(o.RedialMost, time.Second),
		AckDelay:      or(o.AckDelay, 100*time.Millisecond),
	}
}

// heldMost is how many calls may be closed above the watermark until a fence says so.
const heldMost = 64

// tickLate is how long after the one before a tick may come on a busy machine.
const tickLate = time.Second

// Client is all calls of one program to the servers of a service. It is not safe
// for concurrent use. now is the time on the program's monotonic clock, since an
// origin that does not change in the client's life.
type Client struct {
	opt     ClientOptions
	peers   []*Peer
	formers []former
	ticked  time.Duration // when Tick was called last
	Counts  ClientCounts
}

// ClientCounts are what has happened since the client was made.
type ClientCounts struct {
	Resends uint64 // calls that were sent again to the same server
	Moves   uint64 // calls that were sent to another server
	Late    uint64 // replies to calls that had their outcome
	Lost    uint64 // sessions that a server did not know any more
}

// NewClient makes a client without servers.
func NewClient(opt ClientOptions) *Client { return &Client{opt: opt.withDefaults()} }

// Add makes a server known. tag is the shell's own.
func (c *Client) Add(tag any) *Peer {
	p := &Peer{Tag: tag, client: c, lease: c.opt.Lease, most: c.opt.Open, refers: true}
	c.peers = append(c.peers, p)
	return p
}

// Terms is what a server has said of itself on a connection of which Connected is to be told:
// the lease, and how many calls may be open there. What is 0 is not said.
func (c *Client) Terms(p *Peer, lease time.Duration, open int) {
	p.lease, p.most = or(lease, c.opt.Lease), min(or(open, c.opt.Open), c.opt.Open)
}

// Connected says that a connection to a peer is open. The one before it, if any,
// is not used any more.
func (c *Client) Connected(now time.Duration, p *Peer, conn Conn, out []Demand) []Demand {
	p.conn, p.up, p.dialing = conn, false, false
	switch {
	case !p.welcomed:
		p.renew() // a Hello that opens a session is sent once: a late one opens none again
	case now-p.renewed >= p.lease*4/5:
		out = p.lose(now, Expired, out) // the server may still know it, but not for long
	}
	return p.hello(now, out)
}

// Disconnected says that a connection is lost.
func (c *Client) Disconnected(now time.Duration, p *Peer, conn Conn, out []Demand) []Demand {
	if conn != p.conn {
		return out
	}
	if !p.up {
		p.backOff(now)
	}
	p.conn, p.up = 0, false
	return p.dial(now, out)
}

// Unreachable says that a peer could not be dialled. What was not sent to it goes
// to another at once.
func (c *Client) Unreachable(now time.Duration, p *Peer, out []Demand) []Demand {
	p.conn, p.up, p.dialing = 0, false, false
	p.backOff(now)
	return p.leave(func(i *Invocation) bool { return !i.exposed }, out)
}

// Retire says that a peer is to get no calls any more. What was not sent to it goes to
// another; the rest goes on.
func (c *Client) Retire(p *Peer, out []Demand) []Demand {
	return p.leave(func(i *Invocation) bool { return !i.exposed }, out)
}

// Dead says that a peer is not there any more and will not be again: it starts no
// call. If its server is there still, or again, by another peer, that ends the
// session of this one before it calls. fenced is true if it is also known that none is running there.
func (c *Client) Dead(now time.Duration, p *Peer, fenced bool, out []Demand) []Demand {
	if p.gone {
		return out
	}
	out = p.leave((*Invocation).movable, out)
	p.open.all(func(_ uint64, i *Invocation) {
		i.Outcome = Outcome{Code: Lost, Fenced: fenced && !i.ran}
		out = p.finish(i, out)
	})
	p.gone, p.conn, p.up = true, 0, false
	p.drop()
	c.peers = slices.DeleteFunc(c.peers, func(q *Peer) bool { return p == q })
	c.relate(p.domain)
	return p.part(now, out)
}

// Bye ends the sessions with all servers that can be told so. It is to be called when
// no call is open, before the connections are closed.
func (c *Client) Bye(now time.Duration, out []Demand) []Demand {
	for _, p := range c.peers {
		if p.up {
			out = p.send(now, nil, Message{Kind: Bye}, out)
		}
	}
	return out
}

// Tick does what is due: failover, redials, acks, renewal of leases. It is to be
// called some ten times a second: if it is not, the program stood still, and no server
// was out of its reach meanwhile.
func (c *Client) Tick(now time.Duration, out []Demand) []Demand {
	if gap := now - c.ticked; c.ticked != 0 && gap > tickLate {
		for _, p := range c.peers {
			p.since = min(p.since+gap, now)
		}
	}
	c.ticked = now
	for _, p := range c.peers {
		out = p.tick(now, out)
	}
	return out
}
