package session

import "slices"

// Promise is the result of a call, for others that need it before it is there. At the server
// where their call is, they name it; elsewhere they wait for it.
//
//	          Assign, at the peer of all it needs
//	idle ──────────────────────────────────────────▶ pending, sent ──┐
//	  │                                                              │ Unmet, or moved
//	  │ Await    all have a result        Supplied                   │
//	  └────────▶ awaiting ─────▶ Supply ───────────▶ routing         │
//	                ▲ │ one has none                                 │
//	                │ └───────────────▶ finished: Unmet              │
//	                └────────────────────────────────────────────────┘
type Promise struct {
	// Outcome is how the call has ended, once Done. Its Reply is the promise's own.
	Outcome Outcome

	call    *Invocation   // nil: it has ended
	peer    *Peer         // that keeps the result; nil: none does
	seq     uint64        // there
	users   int           // calls that were sent with a reference to it, and are open
	waiters []*Invocation // that wait for it here
}

// Promise returns the promise of a call's result, nil if it has ended.
func (*Client) Promise(i *Invocation) *Promise {
	if i.state == finished {
		return nil
	}
	if i.promise == nil {
		i.promise = &Promise{call: i}
	}
	return i.promise
}

// Done tells whether the call has ended.
func (pr *Promise) Done() bool { return pr.call == nil }

// Refers says whether a peer lets calls name others whose results they need. It is said
// before Connected, of each connection; until the first, it is taken for granted.
func (*Client) Refers(p *Peer, yes bool) { p.refers = yes }

// Where returns the peer to which a call can be assigned whose arguments want results, nil if
// there is none: then [Client.Await] is to be called.
func (*Client) Where(i *Invocation) *Peer {
	if i.alone || i.Once || i.Needs[0].peerOf() == nil {
		return nil
	}
	p := i.Needs[0].peerOf()
	for _, pr := range i.Needs {
		if pr.peerOf() != p {
			return nil
		}
	}
	if p.gone || !p.refers {
		return nil
	}
	return p
}

// peerOf is where a call is open, or its result is kept.
func (pr *Promise) peerOf() *Peer {
	switch i := pr.call; {
	case i == nil:
		return pr.peer
	case i.state == pending || i.state == sent || i.state == canceling:
		return i.peer
	}
	return nil
}

// Await lets a call wait until it has the results that it needs: Supply, or its Finish, is
// among the demands when that is so.
func (c *Client) Await(i *Invocation, out []Demand) []Demand {
	if i.state == finished {
		return out
	}
	i.peer, i.state = nil, awaiting
	return i.await(out)
}

func (i *Invocation) await(out []Demand) []Demand {
	all := true
	for _, pr := range i.Needs {
		switch {
		case !pr.Done():
			all = false
		case pr.Outcome.Code != OK:
			i.Outcome = Outcome{Code: Unmet, Execution: NotExecuted}
			return i.finish(out)
		}
	}
	if all {
		i.state = routing
		return append(out, Demand{Want: Supply, Call: i})
	}
	for _, pr := range i.Needs {
		if !pr.Done() && !slices.Contains(pr.waiters, i) {
			pr.waiters = append(pr.waiters, i)
		}
	}
	return out
}

// Supplied says that a call's arguments are whole.
func (i *Invocation) Supplied() { i.Needs, i.alone, i.attempts = nil, false, 0 }

// fulfil gives the outcome to those who wait for it.
func (pr *Promise) fulfil(o Outcome, out []Demand) []Demand {
	pr.Outcome, pr.call = o, nil
	pr.Outcome.Reply = slices.Clone(o.Reply)
	waiters := pr.waiters
	pr.waiters = nil
	for _, i := range waiters {
		if i.state == awaiting {
			out = i.await(out)
		}
	}
	return out
}

// forgo ends the wait of a call that is over.
func (i *Invocation) forgo() {
	for _, pr := range i.Needs {
		if at := slices.Index(pr.waiters, i); at >= 0 {
			pr.waiters = slices.Delete(pr.waiters, at, at+1)
		}
	}
}

// refer tells whether a call can be sent to a peer with references, and notes that it is.
func (i *Invocation) refer(p *Peer) bool {
	if i.alone || i.Once || !p.refers {
		return false
	}
	for _, pr := range i.Needs {
		if pr.peerOf() != p || pr.call != nil && pr.call.seq == 0 {
			return false
		}
	}
	i.refs = &Needs{make([]uint64, 0, len(i.Needs))}
	for _, pr := range i.Needs {
		pr.users++
		if pr.call != nil {
			i.refs.Calls = append(i.refs.Calls, pr.call.seq)
		} else {
			i.refs.Calls = append(i.refs.Calls, pr.seq)
		}
	}
	return true
}

// unrefer is for a call that is closed: what it needed may be closed as well.
func (i *Invocation) unrefer() {
	if i.refs == nil {
		return
	}
	i.refs = nil
	for _, pr := range i.Needs {
		if pr.users--; pr.users == 0 && pr.peer != nil {
			pr.peer.release(pr)
		}
	}
}

// unmet tells whether a server says that it could not put a result into a call's arguments.
// Whether there is one is for the client to know.
func (i *Invocation) unmet(m *Message) bool {
	return len(i.Needs) > 0 && m.Execution == NotExecuted && (m.Code == Unmet || m.Code == Canceled && i.recalled)
}

// keep leaves a call that has ended open at its server.
func (p *Peer) keep(i *Invocation) {
	pr := i.promise
	pr.peer, pr.seq = p, i.seq
	at := 0
	for at < len(p.kept) && p.kept[at].seq < pr.seq {
		at++
	}
	p.kept = slices.Insert(p.kept, at, pr)
}

// release closes a call that was kept.
func (p *Peer) release(pr *Promise) {
	pr.peer = nil
	at := slices.Index(p.kept, pr)
	p.kept = slices.Delete(p.kept, at, at+1)
	if pr.seq > p.watermark() {
		p.held++
	}
}

// drop forgets all that is kept.
func (p *Peer) drop() {
	for _, pr := range p.kept {
		pr.peer = nil
	}
	p.kept = nil
}
