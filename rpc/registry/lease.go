package registry

import (
	"math"
	"time"
)

// State is what has become of an epoch, for those who think of doing its work
// elsewhere.
type State uint8

// States.
const (
	StateUnknown State = iota // nothing is known: wait, and ask again
	StateAlive                // its lease runs
	StateSuspect              // its node must have ended its workers; its clock is not trusted yet. If it is lasting: nobody knows
	StateFenced               // it does nothing any more, and never will
)

// String is the state's word.
func (s State) String() string {
	return [...]string{"unknown", "alive", "suspect", "fenced"}[min(s, StateFenced)]
}

// Never is the time of what does not happen.
const Never = time.Duration(math.MaxInt64)

// State returns what has become of an epoch. Once it is fenced, it stays so.
func (r *Registry) State(now time.Duration, epoch uint64) State {
	r.advance(now)
	n := r.byEpoch[epoch]
	switch {
	case n != nil && r.now-n.renewed < r.opts.Lease.Self:
		return StateAlive
	case n != nil:
		return StateSuspect
	case !r.over(epoch):
		return StateUnknown
	case Lasting(epoch):
		return StateSuspect
	}
	return StateFenced
}

// over tells whether an epoch was given and is nobody's any more.
func (r *Registry) over(epoch uint64) bool {
	return epoch != 0 && epoch <= r.epoch && (epoch >= r.base || r.now >= r.settled()) && r.byEpoch[epoch] == nil
}

// Settling tells whether nodes of the registry before may still come back.
func (r *Registry) Settling(now time.Duration) bool {
	r.advance(now)
	return r.settling
}

// settled is when all those nodes have fenced themselves that the registry before
// knew and this one does not.
func (r *Registry) settled() time.Duration { return r.started + r.opts.Lease.Fence }

// Renew gives a node another lease. [Unknown] asks it to register again, [Fenced]
// to end its workers.
func (r *Registry) Renew(now time.Duration, m *Renewal) error {
	n, err := r.member(now, &m.Owner)
	if err != nil {
		return err
	}
	if m.Term != 0 && m.Term != r.opts.Term { // only a copy of its registration has come here
		return refuse(Unknown, 0, "epoch %#x was confirmed by another registry", m.Owner.Epoch)
	}
	r.renew(n, m.Load, m.Note)
	return nil
}

// Deregister ends a node's registration. Whoever says it has ended its workers
// before: to everybody else, the epoch is fenced now. It may come twice.
func (r *Registry) Deregister(now time.Duration, o *Owner) error {
	n, err := r.member(now, o)
	if err != nil {
		if r.over(o.Epoch) {
			return nil
		}
		return err
	}
	r.left++
	r.end(n)
	return nil
}

// member returns whose epoch it is.
func (r *Registry) member(now time.Duration, o *Owner) (*member, error) {
	if err := o.check(); err != nil {
		return nil, refuse(Malformed, 0, "%v", err)
	}
	r.advance(now)
	n := r.byEpoch[o.Epoch]
	switch {
	case n != nil && n.secret.is(o.Secret) && o.Life < life(n.revision):
		return nil, refuse(Twin, 0, "process %d of epoch %#x has been followed by %d", o.Life, o.Epoch, life(n.revision))
	case n != nil && n.secret.is(o.Secret):
		return n, nil
	case n != nil:
		return nil, refuse(Twin, 0, "epoch %#x is another instance's", o.Epoch)
	case r.over(o.Epoch):
		return nil, refuse(Fenced, 0, "epoch %#x is over", o.Epoch)
	}
	return nil, refuse(Unknown, 0, "epoch %#x is not known here", o.Epoch)
}

func (r *Registry) renew(n *member, load uint32, note string) {
	n.load, n.note, n.renewed = load, note, r.now
	r.leases.Remove(&n.lease)
	r.leases.PushBack(&n.lease)
}

// Advance does what is due: nodes are fenced, and the time of settling ends. Every
// other method does it first. It returns when it is to be called next.
func (r *Registry) Advance(now time.Duration) time.Duration {
	r.advance(now)
	next := Never
	if n := r.leases.Front(); n != nil {
		next = n.renewed + r.opts.Lease.Fence
	}
	if r.settling {
		next = min(next, r.settled())
	}
	return next
}

func (r *Registry) advance(now time.Duration) {
	r.now = max(r.now, now)
	if r.settling && r.now >= r.settled() {
		r.settling = false
		r.changes.add("", r.opts.Log)
		r.grantAll()
	}
	for n := r.leases.Front(); n != nil && r.now-n.renewed >= r.opts.Lease.Fence; n = r.leases.Front() {
		r.lost++
		r.end(n)
	}
}

// end fences a node off, or forgets a lasting one: whatever it had is free.
func (r *Registry) end(n *member) {
	delete(r.byID, n.node.ID)
	delete(r.byEpoch, n.node.Epoch)
	r.giveRank(n)
	r.unserve(n)
	r.leases.Remove(&n.lease)
	r.changes.digest.toggle(n.digest)
	r.changes.add(n.node.ID, r.opts.Log)
	r.abandon(n)
}

// Instance is all that is known of a node.
type Instance struct {
	Node
	State State
	Load  uint32        // as of the last renewal
	Note  string        // likewise: what the node says beside that; "": nothing
	Age   time.Duration // of the last renewal
}

// Instances returns all nodes, by rank.
func (r *Registry) Instances(now time.Duration) []Instance {
	r.advance(now)
	all := make([]Instance, 0, len(r.byID))
	for _, n := range r.ranks {
		if n != nil {
			all = append(all, Instance{n.node, r.State(now, n.node.Epoch), n.load, n.note, r.now - n.renewed})
		}
	}
	return all
}
