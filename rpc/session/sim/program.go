package sim

import (
	"slices"
	"time"

	"rpcpool.dev/rpc/session"
)

// program is a client's process.
type program struct {
	node
	r       *run
	name    int
	clock   clock
	client  *session.Client
	seats   []*seat           // servers on the list
	retired []*seat           // that have left it, and where something is open
	had     map[*server]*seat // the last seat of each
	sat     int
	eager   *seat // that gets the next call
	version int   // of the list
	conns   session.Conn
	links   map[session.Conn]*link
	named   map[session.ID]bool // sessions that it has said to have left
	left    int                 // calls that it has not made yet
	ended   bool
}

func (r *run) newProgram(name int) *program {
	p := &program{node: node{w: r.w}, r: r, name: name, clock: r.w.clock(), left: 6 + r.w.rng.IntN(10)}
	p.boot()
	return p
}

// boot starts the process: another client, that knows nothing of the last one.
func (p *program) boot() {
	trusts := lease
	if p.w.one(2) {
		trusts /= 2 // it gives sessions up that the server still keeps
	}
	p.client = session.NewClient(session.ClientOptions{
		Rand: p.w.rng.Uint64, Lease: trusts, Open: []int{1, 3, windowMost}[p.w.rng.IntN(3)],
		FailoverAfter: 150 * time.Millisecond, AckDelay: 20 * time.Millisecond,
		RedialMost: 100 * time.Millisecond,
	})
	p.links = map[session.Conn]*link{}
	p.seats, p.retired, p.eager = nil, nil, nil
	p.had, p.named = map[*server]*seat{}, map[session.ID]bool{}
	p.version = len(p.r.lists) - 1
	for _, l := range p.r.latest().servers {
		p.sit(l)
	}
	p.tick(p.client)
	for range 1 + p.w.rng.IntN(4) { // so many go on at once
		p.when(p.w.between(0, 300*time.Millisecond), p.callOn(p.client))
	}
}

func (p *program) tick(incarnation *session.Client) {
	if p.client == incarnation && !p.ended {
		p.perform(p.client.Tick(p.clock.now(), nil))
		soon := 20 * time.Millisecond
		if p.w.calm {
			soon *= 5
		}
		p.when(soon, func() { p.tick(incarnation) })
	}
}

// crash ends the process, and starts it again.
func (p *program) crash() {
	p.w.logf("program %d: crash", p.name)
	for _, c := range p.r.truth.calls {
		if c.program == p && !c.done {
			c.done, c.orphan = true, true
		}
	}
	for n := session.Conn(1); n <= p.conns; n++ {
		if l := p.links[n]; l != nil {
			l.open = false
			p.w.after(p.w.between(0, 300*time.Millisecond), func() { l.accepted = false })
		}
	}
	p.boot()
}

// callOn makes a call, if the process is still the same.
func (p *program) callOn(incarnation *session.Client) func() {
	return func() {
		if p.client == incarnation && p.left > 0 && p.w.now < stormy+calm/5 {
			p.left--
			p.issue(p.r.newCall(p))
			for p.left > 0 && p.w.one(p.r.mix.needs) { // a chain, most likely
				p.left--
				p.issue(p.r.newCall(p))
			}
		}
	}
}

func (p *program) issue(c *call) {
	p.w.logf("program %d: %s", p.name, c)
	client := p.client
	p.perform(p.assign(c, p.any()))
	if at := c.inv.Deadline; at != 0 {
		p.w.at(p.clock.until(at), func() { p.awake(func() { p.cancel(client, c, session.DeadlineExceeded) }) })
	}
	if p.w.one(p.r.mix.cancel) {
		p.when(p.w.between(0, p.patience()), func() { p.cancel(client, c, session.Canceled) })
	}
}

// patience is about how long a caller waits: not long, or through a restart.
func (p *program) patience() time.Duration {
	if p.w.one(3) {
		return time.Second
	}
	return 50 * time.Millisecond
}

// cancel does what a caller does whose context has ended: it waits a little for the
// truth.
func (p *program) cancel(client *session.Client, c *call, why session.Code) {
	if c.done || p.client != client {
		return
	}
	p.w.logf("program %d: call %d: %s", p.name, c.id, why)
	c.unwanted = true
	p.perform(client.Cancel(p.clock.now(), &c.inv, why, nil))
	grace := p.w.between(0, graceMost)
	if p.w.one(2) {
		grace /= 10
	}
	p.when(grace, func() {
		if p.client == client && !c.done {
			p.perform(client.GiveUp(p.clock.now(), &c.inv, nil))
			p.gaveUp(c)
		}
	})
}

func (p *program) receive(l *link, m *session.Message) {
	if p.ended {
		return
	}
	conn := p.r.mutant.answered(l, m)
	if of(l.peer).dead {
		p.r.cover.events[lateAnswers]++
	}
	if m.Kind == session.Reply && m.Code == session.Unmet {
		p.r.cover.events[unmetThere]++
	}
	if at := of(l.peer); m.Kind == session.Welcome && at.link == l && m.Greeting.Session == at.greets {
		at.session, at.with = at.greets, l.server
	}
	p.w.logMessage("program %d ← %d: %s", p.name, l.id, m)
	p.perform(p.client.Receive(p.clock.now(), l.peer, conn, m, nil))
}

// lost tells the client of a link that is gone, and what never left by it.
func (p *program) lost(l *link) {
	for i := range l.unsent {
		if l.unsent[i].Call != nil {
			p.r.cover.events[takenBack]++
			p.r.truth.of(l.unsent[i].Call).unsent++
			p.client.Unsent(l.unsent[i].Peer, l.id, l.unsent[i].Msg.Seq)
		}
	}
	l.unsent = nil
	p.r.mutant.lost(l)
	at := of(l.peer)
	if at.link == l {
		at.link = nil
	}
	p.perform(p.client.Disconnected(p.clock.now(), l.peer, l.id, nil))
	if at.retired && at.link == nil {
		p.bury(at)
	}
}

func (p *program) perform(out []session.Demand) {
	for i := range out {
		d := &out[i]
		switch d.Want {
		case session.Transmit:
			p.r.mutant.transmit(p, d)
			p.asks(d)
			if l := p.links[d.Conn]; l != nil {
				p.transmits(d, l.server)
				p.w.logMessage("program %d → %d: %s", p.name, l.id, &d.Msg)
				l.toServer(d)
			}
		case session.Dial:
			if at := of(d.Peer); at.retired || at.dead {
				p.bury(at)
			} else {
				p.dial(at)
			}
		case session.Route:
			p.route(d)
		case session.Finish:
			p.finish(p.r.truth.of(d.Call))
		case session.Supply:
			p.supply(p.r.truth.of(d.Call))
		}
	}
	p.rest()
}

// asks notes that a client cancels a call that is to be sent once, although nobody has told it to:
// its connection is lost.
func (p *program) asks(d *session.Demand) {
	if d.Msg.Kind != session.Cancel {
		return
	}
	if i := d.Peer.Call(d.Msg.Seq); i != nil {
		c := p.r.truth.of(i)
		c.asked = c.asked || c.noRetry && !c.unwanted
	}
}

// transmits notes which sessions a program has, and which it has when it calls in a lane.
func (p *program) transmits(d *session.Demand, s *server) {
	switch at := of(d.Peer); {
	case d.Msg.Kind == session.Hello:
		at.greets, p.named[d.Msg.Greeting.Former] = d.Msg.Greeting.Session, true
	case d.Call != nil && d.Call.Lane != 0:
		if first, xid := p.r.truth.first, d.Call.XID(); first[xid].at == 0 {
			first[xid] = sending{p.w.n, p.beside(at, s)}
		}
	}
}

// dial connects to a server, if that runs and can be reached.
func (p *program) dial(at *seat) {
	client := p.client
	p.when(p.w.between(50*time.Microsecond, 5*time.Millisecond), func() {
		if p.client != client || p.ended {
			return
		}
		s := at.leads()
		if at.retired || !s.running || s.apart[p] > p.w.now {
			p.perform(client.Unreachable(p.clock.now(), at.peer, nil))
			return
		}
		p.connect(at, s, "connection")
		if p.w.fault(Second, 5) { // it does not trust that one, and makes another beside it
			p.again(p.w.between(0, 20*time.Millisecond), at)
		}
	})
}

func (p *program) connect(at *seat, s *server, what string) {
	l := p.w.connect(p, at, s)
	if s != at.server {
		p.r.cover.events[astrayConns]++
	}
	p.client.Refers(at.peer, s.refers)
	p.w.logf("program %d: %s %d to server %d", p.name, what, l.id, s.name)
	p.perform(p.client.Connected(p.clock.now(), at.peer, l.id, nil))
}

// again makes another connection to a server after d, or when that runs.
func (p *program) again(d time.Duration, at *seat) {
	client := p.client
	p.when(d, func() {
		s := at.leads()
		if p.client != client || s.apart[p] > p.w.now || !slices.Contains(p.seats, at) {
			return
		}
		if !s.running {
			if !p.w.one(8) {
				p.again(p.w.between(0, 20*time.Millisecond), at)
			}
			return
		}
		p.connect(at, s, "another connection")
	})
}

// route finds another server for a call, at once or after a while.
func (p *program) route(d *session.Demand) {
	c := p.r.truth.of(d.Call)
	if c.routes++; c.routes > 4 && p.w.one(2) {
		p.perform(p.client.NoServer(d.Call, nil))
		return
	}
	client := p.client
	p.when(p.w.between(0, 2*time.Millisecond), func() {
		if p.client == client && !c.done {
			at := p.any()
			if at != nil && at.peer == d.Peer {
				at = p.any() // rather another one
			}
			p.w.logf("program %d: call %d goes to another server", p.name, c.id)
			p.perform(p.assign(c, at))
		}
	})
}

func (p *program) finish(c *call) {
	p.r.truth.ended(c)
	next := p.callOn(p.client)
	if p.w.one(2) {
		p.when(0, next)
		return
	}
	p.when(p.w.between(0, 50*time.Millisecond), next)
}
