package tracker

import (
	"slices"
	"time"

	"rpcpool.dev/tvm"
)

// handoffResult says what became of a grant. The words are those of the metric.
type handoffResult uint8

const (
	handoffUsed     handoffResult = iota // a session took place
	handoffExpired                       // the client never came; the server gave the ticket up
	handoffReturned                      // the client was gone before it got the grant
	handoffUnknown                       // the server is gone, or says nothing that tells
	handoffResults                       // how many there are
)

func (h handoffResult) String() string {
	return [...]string{"used", "expired", "returned", "unknown"}[h]
}

// counts only grow.
type counts struct {
	granted   uint64 // requests
	abandoned uint64 // requests whose client left while it waited
	refused   uint64 // requests that were not queued
	handoffs  [handoffResults]uint64
}

// match serves requests of q while there are devices for them.
func (r *registry) match(q *queue, now time.Time, out []handoff) []handoff {
	for q.waiting > 0 {
		o := r.usable(q, now)
		if o == nil {
			break
		}
		rq := q.best()
		r.cancel(rq, now)
		out = r.grant(o, rq.from, now.Sub(rq.since), now, out)
	}
	return out
}

// open ends the time in which nothing is granted. All keys are touched, and the
// empty one for those that are not known.
func (r *registry) open(now time.Time, out []handoff) []handoff {
	r.settling = false
	for _, q := range r.queues {
		r.touch(q)
		out = r.match(q, now, out)
	}
	r.touch(newQueue("", r.fair))
	return out
}

// usable returns the next free offer of q whose server is not hung, nil if
// there is none, or while nothing is granted. Those of hung servers are withheld
// on the way.
func (r *registry) usable(q *queue, now time.Time) *offer {
	for {
		if r.settling {
			return nil
		}
		o := q.free.Front()
		if o == nil || !r.silent(o.owner, now) {
			return o
		}
		r.withhold(o.owner, now)
	}
}

// grant gives o to p.
func (r *registry) grant(o *offer, p *peer, waited time.Duration, now time.Time, out []handoff) []handoff {
	owner := o.owner
	o.queue.free.Remove(&o.node)
	delete(owner.offers, o.matchKey)
	o.state, o.since, o.grantee, o.client, o.polls = offerGranted, now, p.id, p.addr, 0
	o.source = o.queue.take(p.host)
	owner.granted = append(owner.granted, o)
	if len(owner.granted) > maxUnresolved {
		r.resolve(owner.granted[0], handoffUnknown, now)
	}
	r.counts.granted++
	r.moved(o)
	return append(out, handoff{to: p, offer: o, waited: waited})
}

// free puts an offer in the free list, last, or keeps it out of there if its
// server is held.
func (r *registry) free(o *offer, now time.Time) {
	p := o.owner
	o.state, o.since = offerFree, now
	if p.held {
		o.state = offerHeld
	} else {
		o.queue.free.PushBack(&o.node)
	}
	r.moved(o)
	if p.offers == nil {
		p.offers = map[string]*offer{}
	}
	p.offers[o.matchKey] = o
}

// drop forgets an offer that is free, withheld or held.
func (r *registry) drop(o *offer, now time.Time) {
	switch o.state {
	case offerWithheld:
		o.owner.withheld--
	case offerFree:
		o.queue.free.Remove(&o.node)
	default:
	}
	delete(o.owner.offers, o.matchKey)
	r.gone(o, now)
}

// resolve ends a granted offer.
func (r *registry) resolve(o *offer, result handoffResult, now time.Time) {
	r.unlist(o)
	r.counts.handoffs[result]++
	r.gone(o, now)
}

// unlist takes a granted offer off its server and off the client's account.
func (r *registry) unlist(o *offer) {
	p := o.owner
	p.granted = slices.DeleteFunc(p.granted, func(g *offer) bool { return g == o })
	o.queue.giveBack(o.source)
	o.source = nil
}

func (r *registry) gone(o *offer, now time.Time) {
	o.state = offerGone
	o.queue.offers--
	r.moved(o)
	r.charge(o.owner, -o.cost()-int64(len(o.queue.key))) //nolint:errcheck // giving back cannot fail
	r.tidy(o.queue, now)
}

// endOfSession resolves the grant that a PUT of key and matchKey by p ends: the
// one of the same match key (its server asks again with a ticket that nobody
// used), else the oldest of the same key.
func (r *registry) endOfSession(p *peer, key, matchKey string, now time.Time) {
	var oldest *offer
	for _, o := range p.granted {
		if o.matchKey == matchKey {
			r.resolve(o, handoffExpired, now)
			return
		}
		if oldest == nil && o.queue.key == key {
			oldest = o
		}
	}
	if oldest == nil {
		return
	}
	result := handoffUsed
	if !oldest.used && oldest.polls >= stockMisses && now.Sub(p.lastBeat) <= ticketGivenUp {
		result = handoffExpired
	}
	r.resolve(oldest, result, now)
}

// seen notes that a frame of p came: a server that was thought hung is back.
func (r *registry) seen(p *peer, now time.Time, out []handoff) []handoff {
	if p.home != nil && r.silent(p, now) {
		r.touch(p.home)
	}
	p.lastSeen = now
	if p.withheld == 0 {
		return out
	}
	p.withheld = 0
	return r.giveBack(p, offerWithheld, now, out)
}

// withhold takes the free offers of a hung server out of their queues.
func (r *registry) withhold(p *peer, now time.Time) {
	for _, o := range p.offers {
		if o.state == offerFree {
			o.queue.free.Remove(&o.node)
			o.state, o.since = offerWithheld, now
			p.withheld++
			r.moved(o)
		}
	}
}

// withdraw drops p's live offers: its server says that it is not free.
func (r *registry) withdraw(p *peer, now time.Time) {
	for _, o := range p.offers {
		r.drop(o, now)
	}
}

// silent tells whether p has stopped polling. Servers of ours poll by contract,
// in every state; others have to be seen at it, in the rhythm of stock servers,
// and only an offer that should be polled for makes their silence a sign: in a
// session, it is normal.
func (r *registry) silent(p *peer, now time.Time) bool {
	polls := p.native != "" || p.regular >= regularPolls
	return polls && now.Sub(p.lastSeen) > r.hungAfter
}

func (p *peer) setNative(s tvm.NativeState, now time.Time) {
	if p.native != s {
		p.native, p.nativeSince = s, now
	}
}
