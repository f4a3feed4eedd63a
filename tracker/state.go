package tracker

import (
	"time"

	"rpcpool.dev/tvm"
)

// State is what the tracker knows about a server. Our servers say it; of stock
// servers it is inferred from what they send and when.
type State string

// All states, as SUMMARY and the query tool show them.
const (
	// StateStarting is registered, but has not offered anything yet.
	StateStarting State = "starting"
	// StateFree has an offer that nobody has taken.
	StateFree State = "free"
	// StateGranted is promised to a client that has not come yet.
	StateGranted State = "granted"
	// StateBusy is in a session.
	StateBusy State = "busy"
	// StateHung should be polling and does not: its offers are withheld until
	// it is heard again.
	StateHung State = "hung"
	// StateDraining takes no new session, by its own word, or because somebody
	// holds it ([Server.Hold]).
	StateDraining State = "draining"
	// StateQuarantined is broken, by its own word.
	StateQuarantined State = "quarantined"
)

// state infers a server's state, and since when it has been in it.
func (r *registry) state(p *peer, now time.Time) (State, time.Time) {
	if p.native != "" && r.silent(p, now) { // ours polls in every state
		return StateHung, p.lastSeen
	}
	if p.native != "" && p.native != tvm.StateFree {
		return State(p.native), p.nativeSince
	}
	if o := p.newestOffer(); o != nil {
		if o.state == offerWithheld || r.silent(p, now) {
			return StateHung, p.lastSeen
		}
		if o.state == offerHeld {
			return StateDraining, o.since
		}
		return StateFree, o.since
	}
	if n := len(p.granted); n > 0 {
		return p.granted[n-1].stateOfOwner(p, now)
	}
	return StateStarting, later(p.since, p.nativeSince)
}

// stateOfOwner tells a session from a ticket that waits for its client: servers
// go on polling for the ticket until the client connects, and then fall silent.
func (o *offer) stateOfOwner(p *peer, now time.Time) (State, time.Time) {
	quiet := later(o.since, p.lastSeen)
	if o.used || now.Sub(quiet) > sessionAfter {
		return StateBusy, quiet
	}
	return StateGranted, o.since
}

// newestOffer is the live offer that was put last, nil if there is none.
func (p *peer) newestOffer() (newest *offer) {
	for _, o := range p.offers {
		if newest == nil || o.seq > newest.seq {
			newest = o
		}
	}
	return newest
}

// client returns the address of the client that was granted p last and may be
// in a session there, empty if there is none.
func (p *peer) client() string {
	if n := len(p.granted); n > 0 {
		return p.granted[n-1].client
	}
	return ""
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
