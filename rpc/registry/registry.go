package registry

import (
	"errors"
	"slices"
	"time"

	"rpcpool.dev/internal/fifo"
)

// Options of a Registry.
type Options struct {
	// Term must be greater than that of every registry before: the time of its start
	// in seconds will do. It is the upper half of all that must only grow: epochs,
	// versions, tokens, ids.
	Term uint32
	// First says that there was no registry before this one, so that no node has to
	// wait until those that it knew could have come back.
	First bool
	Lease Lease // zero: DefaultLease
	Log   int   // a view that is more than so many changes behind, or twice as many, gets a snapshot. Default 4096
}

// Registry knows all nodes. It is not safe for concurrent use: whoever puts it on a
// network has a lock around it. Times are of a monotonic clock, from any origin.
type Registry struct {
	opts     Options
	base     uint64 // what it gives itself is above
	started  time.Duration
	now      time.Duration
	settling bool

	byID    map[string]*member
	byEpoch map[uint64]*member
	ranks   []*member // nil: free
	low     int       // no rank below is free
	servers map[Service]*member
	leases  fifo.List[*member] // who has renewed longest ago is at the front
	epoch   uint64             // the last one that was given
	given   uint64             // epochs
	left    uint64             // nodes that said so
	lost    uint64             // nodes that were fenced

	changes changes

	locks    map[string]*lock
	barriers map[string]*barrier
	token    uint64 // the last one that was given
	news     []Outcome
	id       uint64 // the last one that was given
}

// member is a node that is not fenced.
type member struct {
	node     Node
	digest   Digest
	secret   Secret
	revision uint64
	lapsed   bool // while the registry settles, its rank may be another's
	load     uint32
	note     string
	renewed  time.Duration
	lease    fifo.Node[*member]
	open     map[uint64]*request // locks and barriers, by number
	ended    ended
}

// New returns a registry that starts now, and knows nothing.
func New(now time.Duration, opts Options) (*Registry, error) {
	if opts.Lease == (Lease{}) {
		opts.Lease = DefaultLease()
	}
	if opts.Log == 0 {
		opts.Log = 4096
	}
	if opts.Term == 0 || opts.Log < 0 {
		return nil, errors.New("bad options: Term is 0, or Log negative")
	}
	if err := opts.Lease.check(); err != nil {
		return nil, err
	}
	base := uint64(opts.Term) << 32
	return &Registry{
		opts: opts, base: base, started: now, now: now, settling: !opts.First,
		byID: map[string]*member{}, byEpoch: map[uint64]*member{}, servers: map[Service]*member{},
		locks: map[string]*lock{}, barriers: map[string]*barrier{},
		epoch: base, token: base, id: base, changes: changes{version: base},
	}, nil
}

// Register takes a node in, or what is new of one that it knows, and renews its
// lease. The same registration may come any number of times.
func (r *Registry) Register(now time.Duration, m *Registration) (*Ack, error) {
	if err := m.check(); err != nil {
		return nil, refuse(Malformed, 0, "%v", err)
	}
	r.advance(now)
	n := r.byID[m.ID]
	newer := n == nil || m.Revision > n.revision
	var err error
	switch {
	case n == nil:
		n, err = r.admit(m)
	case !n.secret.is(m.Secret):
		err = refuse(Twin, n.renewed+r.opts.Lease.Fence-r.now,
			"another instance is node %q, with rank %d, unless it does not renew its lease", m.ID, n.node.Rank)
	case m.Claim.Epoch != 0 && m.Claim.Epoch != n.node.Epoch:
		err = refuse(Fenced, 0, "epoch %#x of node %q is over", m.Claim.Epoch, m.ID)
	case newer:
		err = r.change(n, m)
	}
	if err != nil {
		return nil, err
	}
	r.renew(n, m.Load, m.Note)
	if newer {
		if m.Lapsed || life(m.Revision) > life(n.revision) { // whoever had asked for locks does not know any more
			r.abandon(n)
		}
		n.revision = m.Revision
		r.restore(n, m.Held)
	}
	if n.lapsed && r.settling {
		return nil, refuse(Settling, min(r.settled()-r.now, r.opts.Lease.Renew), "rank %d is another's, if that comes back", n.node.Rank)
	}
	return &Ack{
		Rank: n.node.Rank, Epoch: n.node.Epoch, Lease: r.opts.Lease,
		Version: r.changes.version, Services: n.node.Services, Lost: n.lacks(m.Held),
	}, nil
}

// admit takes in a node that is not there.
func (r *Registry) admit(m *Registration) (*member, error) {
	c := m.Claim
	if c.Epoch == 0 {
		if r.settling {
			return nil, refuse(Settling, r.settled()-r.now, "nodes of the registry before may come back first")
		}
		if c.Rank = r.freeRank(); c.Rank >= MaxNodes {
			return nil, refuse(Full, r.opts.Lease.Fence, "there are %d nodes", MaxNodes)
		}
	} else if c.Epoch >= r.base || r.now >= r.settled() || r.byEpoch[c.Epoch] != nil || !r.yields(r.at(c.Rank), m) {
		return nil, refuse(Fenced, 0, "epoch %#x of node %q with rank %d is over", c.Epoch, m.ID, c.Rank)
	}
	services, err := r.assign(nil, m.Services)
	if err != nil {
		return nil, err
	}
	if c.Epoch == 0 {
		for r.epoch++; Lasting(r.epoch) != m.Lasting; r.epoch++ {
		}
		c.Epoch = r.epoch
		r.given++
	}
	n := &member{secret: m.Secret, lapsed: m.Lapsed, open: map[uint64]*request{}}
	n.node = Node{ID: m.ID, Rank: c.Rank, Epoch: c.Epoch, Endpoints: m.Endpoints, Services: services}
	n.lease.Value = n
	r.byID[m.ID], r.byEpoch[c.Epoch] = n, n
	r.takeRank(n)
	r.serve(n)
	r.leases.PushBack(&n.lease)
	r.publish(n)
	return n, nil
}

// yields tells whether a rank is there for who claims it. A registry before may have given it
// to another when its node's lease had lapsed: the other, which is the newer, has it then.
func (r *Registry) yields(has *member, m *Registration) bool {
	switch {
	case has == nil:
		return true
	case !has.lapsed || m.Lapsed && m.Claim.Epoch < has.node.Epoch:
		return false
	}
	r.end(has)
	return true
}

// change makes what a node says now what everybody is told of it.
func (r *Registry) change(n *member, m *Registration) error {
	services, err := r.assign(n, m.Services)
	if err != nil {
		return err
	}
	if n.node.Endpoints == m.Endpoints && slices.Equal(n.node.Services, services) {
		return nil
	}
	r.unserve(n)
	n.node.Endpoints, n.node.Services = m.Endpoints, services
	r.serve(n)
	r.changes.digest.toggle(n.digest)
	r.publish(n)
	return nil
}

// life is which process of an instance made a revision: see [RegistrarOptions.Life].
func life(revision uint64) uint32 { return uint32(revision >> 32) }

// publish makes a node as it is now part of all views.
func (r *Registry) publish(n *member) {
	n.digest = n.node.digest()
	r.changes.digest.toggle(n.digest)
	r.changes.add(n.node.ID, r.opts.Log)
}
