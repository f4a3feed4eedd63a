package tracker

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"time"

	"rpcpool.dev/internal/fifo"
	"rpcpool.dev/tvm"
)

// Bounds of what peers can make the registry remember. They are far above what
// honest peers need and keep a broken one from taking the tracker's memory.
const (
	maxKeyBytes    = tvm.MaxHandshakeKey // no door accepts a longer ticket
	maxHostBytes   = 1024
	maxPortBytes   = 64
	maxUserBytes   = 1024
	maxPeerBytes   = 64 << 20
	maxTotalBytes  = 1 << 30
	maxInfoBytes   = 64 << 10 // of the fields of all UPDATE_INFOs of one connection
	maxUnresolved  = 64       // granted offers of one connection whose end is not known
	maxLingering   = 256      // keys that are shown although nobody serves them any more
	recordBytes    = 512      // what an offer or a request costs beside its texts
	infoFieldBytes = 64       // what a field of an UPDATE_INFO costs beside its texts
	regularPolls   = 2        // polls in the stock rhythm that prove a peer polls
	stockMisses    = 4        // misses after which servers give a ticket up

)

// Periods of stock servers, and what we conclude from their silence.
const (
	pollGapMin   = time.Second
	pollGapMax   = 5 * time.Second
	sessionAfter = 5 * time.Second // no poll for so long after a grant: in a session
	lingerFor    = 5 * time.Minute
	// ticketGivenUp is the time from the last miss to the new PUT, at most.
	ticketGivenUp = 3 * time.Second
)

var (
	errTooMuch = errors.New("holds too much of the tracker's memory")
	errTooLong = errors.New("text is too long")
	errNaN     = errors.New("priority is not a number")
)

// offerState is where an offer is in its life.
type offerState uint8

const (
	offerFree     offerState = iota // in its queue's free list
	offerWithheld                   // its server is hung: not given out, but not forgotten either
	offerHeld                       // the same because somebody holds its server, see [registry.hold]
	offerGranted                    // given to a client; its end is not known yet
	offerGone
)

// offer is one ticket: the right to one session on one server. Its texts do
// not change once it is made.
type offer struct {
	node     fifo.Node[*offer] // its place in queue.free
	owner    *peer
	queue    *queue
	host     string
	port     json.RawMessage
	matchKey string
	seq      uint64 // order of PUT
	state    offerState
	since    time.Time // of state

	// Of the grant.
	grantee uint64 // peer.id
	client  string // its address
	source  *source
	polls   int  // of the owner since the grant
	used    bool // the owner said that it is in a session
}

// peer is one connection: a server, a client, or both.
type peer struct {
	conn  *conn  // whose record this is; the registry never touches it
	id    uint64 // never used twice
	addr  string // host:port, as the tracker's kernel sees it
	host  string // of addr
	port  int    // of addr
	since time.Time

	lastSeen time.Time // last frame
	lastBeat time.Time // last poll or PUT
	regular  int       // polls that came in the stock rhythm

	requests []*request        // that wait
	offers   map[string]*offer // free, withheld and held ones, by match key
	withheld int
	granted  []*offer // by time of the grant

	info        map[string]json.RawMessage // nil until the first UPDATE_INFO; replaced, never changed
	key         string                     // its field "key"
	native      tvm.NativeState            // its field "state", or free since a PUT; empty: a stock server
	nativeSince time.Time
	home        *queue // of a native server, and of one that gave an instance
	homeIndex   int    // its place in home.homes
	said        identity
	held        bool  // its instance is: see [registry.hold]
	bytes       int64 // what it makes the registry hold
}

// handoff is a grant that is to be delivered.
type handoff struct {
	to     *peer
	offer  *offer
	waited time.Duration
}

// registry knows every connection, and matches requests to offers.
//
// It is pure: time is passed in, and what is to be sent is returned, appended
// to the out that the caller passes. Its caller serialises the calls.
type registry struct {
	fair      bool
	hungAfter time.Duration
	queues    map[string]*queue
	servers   map[*peer]struct{} // those that SUMMARY lists
	lingering fifo.List[*queue]
	holds     holds
	seq       uint64
	bytes     int64
	counts    counts
	settling  bool     // nothing is granted yet
	watched   bool     // somebody wants to know what is touched
	touched   []*queue // what has changed since somebody was told
}

func newRegistry(fair bool, hungAfter time.Duration) *registry {
	return &registry{
		fair: fair, hungAfter: hungAfter,
		queues: map[string]*queue{}, servers: map[*peer]struct{}{}, holds: newHolds(),
	}
}

// touch notes that the servers or the number of requests of a key changed.
func (r *registry) touch(q *queue) {
	if r.watched && !q.touched {
		q.touched = true
		r.touched = append(r.touched, q)
	}
}

// moved notes that an offer changed, and so the server that made it.
func (r *registry) moved(o *offer) {
	r.touch(o.queue)
	if home := o.owner.home; home != nil && home != o.queue {
		r.touch(home)
	}
}

// news returns the keys that were touched since it was called last.
func (r *registry) news() []string {
	keys := make([]string, len(r.touched))
	for i, q := range r.touched {
		q.touched = false
		keys[i] = q.key
	}
	clear(r.touched)
	r.touched = r.touched[:0]
	return keys
}

// join makes p, whose address is set, known.
func (r *registry) join(p *peer, now time.Time) {
	r.seq++
	p.id, p.since, p.lastSeen = r.seq, now, now
}

// put files an offer. A live offer of the same connection and match key is
// replaced. It ends the session of the connection's previous offer for the key.
func (r *registry) put(p *peer, now time.Time, m tvm.Put, out []handoff) ([]handoff, error) {
	out = r.seen(p, now, out)
	host := p.host
	if m.Host != nil {
		host = *m.Host
	}
	if len(m.Key) > maxKeyBytes || len(m.MatchKey) > maxKeyBytes || len(host) > maxHostBytes || len(m.Port) > maxPortBytes {
		return out, errTooLong
	}
	o := &offer{
		owner: p, host: host, port: slices.Clone(m.Port), matchKey: m.MatchKey, since: now,
	}
	if err := r.charge(p, o.cost()+int64(len(m.Key))); err != nil {
		return out, err
	}
	// The queue gets the new offer before it loses old ones, so that it never
	// looks idle.
	r.seq++
	o.seq, o.queue, o.node.Value = r.seq, r.queue(m.Key), o
	o.queue.offers++
	o.queue.offered = true
	if old := p.offers[m.MatchKey]; old != nil {
		r.drop(old, now)
	}
	r.endOfSession(p, m.Key, m.MatchKey, now)
	p.lastBeat = now
	if p.native != "" {
		p.setNative(tvm.StateFree, now)
	}
	r.free(o, now)
	return r.match(o.queue, now, out), nil
}

// request queues a wait for a device of key, or ends it at once.
func (r *registry) request(p *peer, now time.Time, m tvm.Request, out []handoff) ([]handoff, error) {
	out = r.seen(p, now, out)
	switch {
	case math.IsNaN(m.Priority):
		r.counts.refused++
		return out, errNaN
	case len(m.Key) > maxKeyBytes || len(m.User) > maxUserBytes:
		r.counts.refused++
		return out, errTooLong
	}
	q := r.queue(m.Key)
	if q.waiting == 0 {
		if o := r.usable(q, now); o != nil {
			return r.grant(o, p, 0, now, out), nil
		}
	}
	rq := &request{from: p, index: len(p.requests), user: m.User, priority: m.Priority, since: now}
	if err := r.charge(p, int64(recordBytes+len(m.Key)+len(m.User))); err != nil {
		r.counts.refused++
		r.tidy(q, now)
		return out, err
	}
	r.seq++
	rq.seq = r.seq
	q.push(rq, p.host)
	p.requests = append(p.requests, rq)
	r.touch(q)
	return r.match(q, now, out), nil
}

// pending returns the match keys of p's live offers in the order of their PUTs,
// and notes that p polls.
func (r *registry) pending(p *peer, now time.Time, out []handoff) ([]string, []handoff) {
	out = r.seen(p, now, out)
	if gap := now.Sub(p.lastBeat); gap >= pollGapMin && gap <= pollGapMax && p.regular < regularPolls {
		p.regular++
	}
	p.lastBeat = now
	for _, o := range p.granted {
		o.polls++
		r.moved(o)
	}
	live := make([]*offer, 0, len(p.offers))
	for _, o := range p.offers {
		live = append(live, o)
	}
	slices.SortFunc(live, func(a, b *offer) int { return compare(a.seq, b.seq) })
	keys := make([]string, len(live))
	for i, o := range live {
		keys[i] = o.matchKey
	}
	return keys, out
}

// leave forgets a connection that is closed. Grants that it provably did not
// get (undelivered) go to others.
func (r *registry) leave(p *peer, now time.Time, undelivered []*offer, out []handoff) []handoff {
	for len(p.requests) > 0 {
		r.cancel(p.requests[len(p.requests)-1], now)
		r.counts.abandoned++
	}
	state, _ := r.state(p, now)
	for _, o := range p.offers {
		r.drop(o, now)
	}
	for len(p.granted) > 0 {
		result := handoffUnknown
		if o := p.granted[0]; state == StateBusy || o.used {
			result = handoffUsed
		}
		r.resolve(p.granted[0], result, now)
	}
	r.identify(p, identity{})
	r.unsettle(p, now)
	delete(r.servers, p)
	r.charge(p, -p.bytes) //nolint:errcheck // giving back cannot fail
	for _, o := range undelivered {
		out = r.undelivered(o, p.id, now, out)
	}
	return out
}

// undelivered takes back the grant of o to the peer with the given id, because
// it never got it: the device is offered to others under the same ticket.
func (r *registry) undelivered(o *offer, grantee uint64, now time.Time, out []handoff) []handoff {
	if o.state != offerGranted || o.grantee != grantee {
		return out
	}
	owner := o.owner
	blocked := o.used || owner.offers[o.matchKey] != nil || (owner.native != "" && owner.native != tvm.StateFree)
	if blocked {
		r.resolve(o, handoffUnknown, now)
		return out
	}
	r.unlist(o)
	r.counts.handoffs[handoffReturned]++
	r.free(o, now)
	return r.match(o.queue, now, out)
}

// queue returns the queue of key, made if need be.
func (r *registry) queue(key string) *queue {
	q := r.queues[key]
	if q == nil {
		q = newQueue(key, r.fair)
		r.queues[key] = q
	}
	if q.lingering != nil {
		r.lingering.Remove(q.lingering)
		q.lingering = nil
	}
	return q
}

// tidy deletes a queue that nothing depends on. One that had servers is shown
// a while longer: people and stock tools look up keys whose last server has
// just gone.
func (r *registry) tidy(q *queue, now time.Time) {
	r.expire(now)
	if !q.idle() || q.lingering != nil {
		return
	}
	if !q.offered {
		delete(r.queues, q.key)
		return
	}
	q.until = now.Add(lingerFor)
	q.lingering = &fifo.Node[*queue]{Value: q}
	r.lingering.PushBack(q.lingering)
	if r.lingering.Len() > maxLingering {
		r.dropLingering()
	}
}

// expire deletes the queues that have been shown for long enough.
func (r *registry) expire(now time.Time) {
	for r.lingering.Len() > 0 && !r.lingering.Front().until.After(now) {
		r.dropLingering()
	}
}

func (r *registry) dropLingering() {
	q := r.lingering.Front()
	r.lingering.Remove(q.lingering)
	q.lingering = nil
	delete(r.queues, q.key)
}

// charge accounts for n bytes more (or, negative, less) held for p.
func (r *registry) charge(p *peer, n int64) error {
	if n > 0 && (p.bytes+n > maxPeerBytes || r.bytes+n > maxTotalBytes) {
		return errTooMuch
	}
	p.bytes += n
	r.bytes += n
	return nil
}

// cancel takes a request that waits out of its queue and off its peer.
func (r *registry) cancel(rq *request, now time.Time) {
	q, p := rq.queue, rq.from
	q.remove(rq)
	r.touch(q)
	last := len(p.requests) - 1
	moved := p.requests[last]
	moved.index = rq.index
	p.requests[rq.index], p.requests[last] = moved, nil
	p.requests = p.requests[:last]
	r.charge(p, -int64(recordBytes+len(q.key)+len(rq.user))) //nolint:errcheck // giving back cannot fail
	r.tidy(q, now)
}

func (o *offer) cost() int64 {
	return int64(recordBytes + len(o.host) + len(o.port) + len(o.matchKey))
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}
