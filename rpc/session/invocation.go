package session

import (
	"time"

	"rpcpool.dev/internal/fifo"
)

type invocationState uint8

const (
	idle      invocationState = iota
	pending                   // at a peer, not sent
	sent                      // may have arrived
	canceling                 // was sent; its caller does not want it any more
	routing                   // at no peer
	awaiting                  // the results that it needs, at no peer
	finished
)

// Invocation is one call, as its client sees it. The exported fields but Outcome
// are the caller's, and are set before [Client.Assign].
type Invocation struct {
	Method     uint32
	Lane       uint64 // 0: none
	Sum        uint64 // checksum of Args
	Args       []byte
	Idempotent bool          // more than one run is no harm
	Once       bool          // it is sent once; not with Idempotent
	Deadline   time.Duration // on the client's clock; 0: none
	Tag        any
	// Needs are the results that Args want, at most MaxNeeds.
	Needs []*Promise

	// Outcome is valid after Finish.
	Outcome Outcome

	peer     *Peer
	place    fifo.Node[*Invocation] // in peer.queue
	session  ID                     // that seq belongs to
	seq      uint64                 // 0: none yet
	state    invocationState
	attempts int
	conn     Conn // that it was sent by last; 0: it has been taken back
	exposed  bool // it may have reached peer
	before   bool // exposed, before it was sent by conn
	ran      bool // it may have run elsewhere, or in a server's last life
	started  bool
	alone    bool     // it is sent when its arguments are whole
	recalled bool     // seq was cancelled by the client itself, to be sent with whole arguments
	why      Code     // of the cancel
	promise  *Promise // of its result; nil: nobody needs it
	refs     *Needs   // the calls that it names, while it is sent so
}

// XID is the call's identity at the server that it was sent to last.
func (i *Invocation) XID() XID { return XID{i.session, i.seq} }

// Started tells whether the server has said that the call runs.
func (i *Invocation) Started() bool { return i.started }

// Ran tells whether it may have run elsewhere, or in a server's last life, before the run that
// its outcome is of. If it is idempotent, such a run may go on.
func (i *Invocation) Ran() bool { return i.ran }

// repeatable tells whether another run is no harm, and somebody waits for it.
func (i *Invocation) repeatable() bool { return i.Idempotent && i.state != canceling }

// movable tells whether it may be sent to another peer.
func (i *Invocation) movable() bool {
	return !i.exposed || i.repeatable() && i.attempts < i.peer.client.opt.Attempts
}

// Assign gives a call to a peer. It is new, or the answer to Route.
func (c *Client) Assign(now time.Duration, i *Invocation, p *Peer, out []Demand) []Demand {
	if i.state == finished { // while it was routed
		return out
	}
	if i.attempts++; i.attempts > 1 {
		c.Counts.Moves++
	}
	i.peer, i.state, i.session, i.seq, i.exposed, i.started, i.recalled, i.Outcome = p, pending, ID{}, 0, false, false, false, Outcome{}
	i.place.Value = i
	p.queue.PushBack(&i.place)
	return p.pump(now, out)
}

// NoServer says that there is no peer for a call, or no other one. If one has refused
// it, that is its outcome.
func (c *Client) NoServer(i *Invocation, out []Demand) []Demand {
	if i.state == finished {
		return out
	}
	if i.Outcome.Code != Refused {
		i.Outcome = Outcome{Code: NoServer, Execution: NotExecuted}
	}
	return i.finish(out)
}

// Cancel says that nobody wants a call any more, and why: Canceled or
// DeadlineExceeded. If it may have reached a server, that is asked how it ended;
// [Client.GiveUp] is to follow if no answer comes in time.
func (c *Client) Cancel(now time.Duration, i *Invocation, why Code, out []Demand) []Demand {
	if i.state == canceling && i.why == Lost {
		i.why = why // the server has been asked
	}
	if i.state == finished || i.state == canceling {
		return out
	}
	i.why = why
	p := i.peer
	if i.state == sent && i.exposed {
		i.state = canceling
		return p.cancel(now, i, out)
	}
	i.Outcome = Outcome{Code: why, Execution: NotExecuted}
	if p == nil {
		return i.finish(out)
	}
	return p.finish(i, out)
}

// GiveUp ends the wait for the answer to Cancel. From now on every call to that
// server tells it that this one is not to be started.
func (c *Client) GiveUp(now time.Duration, i *Invocation, out []Demand) []Demand {
	if i.state != canceling {
		return out
	}
	p := i.peer
	i.Outcome = Outcome{Code: i.why}
	out = p.finish(i, out)
	out = p.ack(now, out)
	return p.pump(now, out)
}

// Unsent takes the Transmit of a Call back: not one byte of it was accepted by that
// connection, and none will be. It may be said late, and twice: of what has been sent by
// another connection since, it says nothing.
func (c *Client) Unsent(p *Peer, conn Conn, seq uint64) {
	if i := p.open.get(seq); i != nil && i.conn == conn && i.state == sent {
		i.conn, i.exposed = 0, i.before
	}
}

// finish ends a call that is at no peer.
func (i *Invocation) finish(out []Demand) []Demand {
	if i.ran && i.Outcome.Execution == NotExecuted {
		i.Outcome.Execution = Indeterminate
	}
	i.state = finished
	out = append(out, Demand{Want: Finish, Call: i})
	if i.Needs != nil {
		i.forgo()
	}
	if i.promise != nil {
		return i.promise.fulfil(i.Outcome, out)
	}
	return out
}
