package session

import (
	"slices"
	"time"

	"rpcpool.dev/internal/fifo"
)

// Peer is one server, as a client sees it, and the client's session with it.
type Peer struct {
	Tag any

	client          *Client
	session, secret ID
	welcomed        bool // the server knows the session
	lease           time.Duration
	most            int  // calls that may be open
	refers          bool // calls may name others whose results they need
	gone            bool // it is dead
	domain          ID
	life            uint64
	kin             []*Peer // others that were welcomed by the same domain
	naming          ID      // the former session that the last Hello has named
	barred          bool    // no call is sent before all former sessions have been named

	conn     Conn // 0: none
	up       bool // the session goes over conn
	dialing  bool
	missing  bool          // a connection is wanted, and the session is not up
	since    time.Duration // when that began
	redial   time.Duration // not before
	pause    time.Duration // between the last two dials
	greeted  time.Duration // when Hello or Ping was sent
	renewed  time.Duration // the last of those that were answered
	pinging  bool
	spoken   time.Duration // when anything was sent
	serverAt time.Duration // the server's clock
	clientAt time.Duration // not before which it showed that

	queue  fifo.List[*Invocation] // not sent, without a sequence number
	last   uint64                 // sequence number
	open   window[Invocation]
	kept   []*Promise // of calls that have ended, and whose results open ones need, ascending
	acked  uint64     // as the server was told last
	held   int        // calls above the watermark that were closed since the last fence
	fences fences
}

// fences are the versions of the list of open calls.
type fences struct {
	newest    uint64
	needed    uint64 // calls are only to be sent with this one or a later one
	confirmed uint64 // by the server: it needs not be sent any more
}

// Call returns the call that is open with this number, nil if there is none.
func (p *Peer) Call(seq uint64) *Invocation { return p.open.get(seq) }

// Queued calls visit for every call that waits to be sent.
func (p *Peer) Queued(visit func(*Invocation)) {
	for n := p.queue.Head(); n != nil; n = n.Next() {
		visit(n.Value)
	}
}

// Open calls visit for every call that is open.
func (p *Peer) Open(visit func(*Invocation)) {
	p.open.all(func(_ uint64, i *Invocation) { visit(i) })
}

// Resting tells whether the peer could not be reached a moment ago, so that a call would
// have to wait until it is dialled again.
func (p *Peer) Resting(now time.Duration) bool {
	return p.conn == 0 && !p.dialing && now < p.redial
}

// renew starts another session. Sequence numbers and versions of fences go on: what
// comes late of the old session matches nothing of the new.
func (p *Peer) renew() {
	p.session, p.secret = p.client.opt.Rand.id(), p.client.opt.Rand.id()
	p.welcomed = false
	p.drop()
}

// watermark is the number up to which all calls are closed.
func (p *Peer) watermark() uint64 {
	mark := p.last
	if first := p.open.first(); first != 0 {
		mark = first - 1
	}
	if len(p.kept) > 0 {
		mark = min(mark, p.kept[0].seq-1)
	}
	return mark
}

// fence makes the list of what is open.
func (p *Peer) fence() *Fence {
	p.fences.newest++
	p.held = 0
	f := &Fence{Version: p.fences.newest, Last: p.last}
	if n := p.open.live + len(p.kept); n > 0 {
		f.Open = make([]uint64, 0, n)
		for _, pr := range p.kept {
			f.Open = append(f.Open, pr.seq)
		}
		p.open.all(func(seq uint64, _ *Invocation) { f.Open = append(f.Open, seq) })
	}
	if len(p.kept) > 0 {
		slices.Sort(f.Open)
	}
	return f
}

// send gives a message to the connection, with what the server must know of what
// is closed.
func (p *Peer) send(now time.Duration, i *Invocation, m Message, out []Demand) []Demand {
	if m.Closed == nil && p.fences.confirmed < p.fences.needed {
		m.Closed = p.fence()
	}
	m.Ack = p.watermark()
	p.acked, p.spoken = m.Ack, now
	return append(out, Demand{Want: Transmit, Conn: p.conn, Peer: p, Call: i, Msg: m})
}

func (p *Peer) hello(now time.Duration, out []Demand) []Demand {
	p.greeted, p.pinging = now, false
	f := p.former()
	p.naming = f.session
	return p.send(now, nil, Message{
		Kind: Hello, Closed: p.fence(),
		Greeting: &Handshake{
			Session: p.session, Secret: p.secret, Resume: p.welcomed, Former: f.session, Proof: f.secret,
		},
	}, out)
}

// ack tells the server what is closed, in a message of its own.
func (p *Peer) ack(now time.Duration, out []Demand) []Demand {
	if !p.up {
		return out
	}
	m := Message{Kind: Ack}
	if p.held > 0 {
		m.Closed = p.fence()
	}
	return p.send(now, nil, m, out)
}

// transmit sends a call that has its sequence number.
func (p *Peer) transmit(now time.Duration, i *Invocation, out []Demand) []Demand {
	if i.exposed {
		p.client.Counts.Resends++
	}
	i.state, i.conn, i.before, i.exposed = sent, p.conn, i.exposed, true
	return p.send(now, i, Message{
		Kind: Call, Seq: i.seq, Method: i.Method, Lane: i.Lane, Sum: i.Sum, Idempotent: i.Idempotent,
		Time: p.deadline(i.Deadline), Body: i.Args, Needs: i.refs,
	}, out)
}

// century bounds how far a deadline is, so that it can be added to any clock.
const century = 100 * 365 * 24 * time.Hour

// deadline converts to the server's clock: it will show what is returned before
// the client's shows t. The clocks may differ in speed by one in a thousand.
func (p *Peer) deadline(t time.Duration) time.Duration {
	if t == 0 {
		return 0
	}
	left := min(t-p.clientAt, century)
	return max(p.serverAt+left-left>>10, 1)
}

func (p *Peer) cancel(now time.Duration, i *Invocation, out []Demand) []Demand {
	if !p.up {
		return out // Welcome will see to it
	}
	return p.send(now, nil, Message{Kind: Cancel, Seq: i.seq}, out)
}

// pump sends what is queued, as far as the window is open.
func (p *Peer) pump(now time.Duration, out []Demand) []Demand {
	if p.queue.Len() > 0 && !p.up {
		return p.dial(now, out)
	}
	for p.queue.Len() > 0 && p.open.live+len(p.kept) < p.most && !p.waits() {
		i := p.queue.Pop()
		if i.Needs != nil && !i.refer(p) {
			out = p.route(i, out)
			continue
		}
		p.last++
		i.session, i.seq = p.session, p.last
		p.open.put(i.seq, i)
		out = p.transmit(now, i, out)
	}
	return out
}

// dial asks for a connection, if there is none and one is wanted.
func (p *Peer) dial(now time.Duration, out []Demand) []Demand {
	wanted := p.queue.Len() > 0 || p.open.live > 0
	if !p.missing || !wanted {
		p.missing, p.since = wanted, now
	}
	if !wanted || p.conn != 0 || p.dialing || now < p.redial {
		return out
	}
	p.dialing = true
	return append(out, Demand{Want: Dial, Peer: p})
}

// backOff puts the next dial off, each time twice as long.
func (p *Peer) backOff(now time.Duration) {
	o := &p.client.opt
	p.pause = min(max(2*p.pause, o.RedialLeast), o.RedialMost)
	jitter := time.Duration(o.Rand() % uint64(p.pause*2/5+1))
	p.redial = now + p.pause*4/5 + jitter
}
