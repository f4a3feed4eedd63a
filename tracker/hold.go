package tracker

import (
	"maps"
	"slices"
	"time"
)

// holds says which instances are not to be offered, and on whose behalf. Each is
// held as long as one owner at least holds it.
type holds struct {
	byOwner map[string]map[string]struct{} // owner: instances
	owners  map[string]int                 // instance: how many hold it
	peers   map[string][]*peer             // instance: the connections that gave it
}

func newHolds() holds {
	return holds{byOwner: map[string]map[string]struct{}{}, owners: map[string]int{}, peers: map[string][]*peer{}}
}

// hold makes instances the ones that owner holds, in place of those before.
func (r *registry) hold(owner string, instances []string, now time.Time, out []handoff) []handoff {
	before, after := r.holds.byOwner[owner], make(map[string]struct{}, len(instances))
	for _, instance := range instances {
		if instance != "" { // that is what servers without one are called
			after[instance] = struct{}{}
		}
	}
	if len(after) == 0 {
		delete(r.holds.byOwner, owner)
	} else {
		r.holds.byOwner[owner] = after
	}
	changed := map[string]struct{}{}
	for instance := range after {
		if _, held := before[instance]; !held {
			r.holds.owners[instance]++
			changed[instance] = struct{}{}
		}
	}
	for instance := range before {
		if _, held := after[instance]; held {
			continue
		}
		if r.holds.owners[instance]--; r.holds.owners[instance] == 0 {
			delete(r.holds.owners, instance)
		}
		changed[instance] = struct{}{}
	}
	for _, instance := range slices.Sorted(maps.Keys(changed)) {
		for _, p := range r.holds.peers[instance] {
			out = r.obeyHold(p, now, out)
		}
	}
	return out
}

// obeyHold takes p's offers out of their queues or puts them back there, if that
// it is held is news.
func (r *registry) obeyHold(p *peer, now time.Time, out []handoff) []handoff {
	held := r.holds.owners[p.said.instance] > 0
	if held == p.held {
		return out
	}
	p.held = held
	if held {
		for _, o := range p.offers {
			if o.state == offerFree {
				o.queue.free.Remove(&o.node)
				o.state, o.since = offerHeld, now
				r.moved(o)
			}
		}
		return out
	}
	return r.giveBack(p, offerHeld, now, out)
}

// giveBack frees the offers of p that are in a state, in the order of their
// PUTs, and serves who waits for them.
func (r *registry) giveBack(p *peer, in offerState, now time.Time, out []handoff) []handoff {
	var back []*offer
	for _, o := range p.offers {
		if o.state == in {
			back = append(back, o)
		}
	}
	slices.SortFunc(back, func(a, b *offer) int { return compare(a.seq, b.seq) })
	for _, o := range back {
		r.free(o, now)
	}
	for _, o := range back {
		out = r.match(o.queue, now, out)
	}
	return out
}

// Hold makes instances ([ServerStatus.Instance]) the ones that are held on
// behalf of owner, in place of those that it held before; none forgets the
// owner. An instance is held as long as any owner holds it, whether a server has
// given that name already or will.
//
// Once Hold has returned, no offer of a held server is granted: it is kept,
// and offered again when the server is released. A free server that is held
// counts as [StateDraining]. What had been granted before stays so: ask
// [Server.ServersOf] after Hold, not before, who is free.
func (s *Server) Hold(owner string, instances []string) {
	now := s.options.Clock.Now()
	s.mu.Lock()
	out := s.registry.hold(owner, instances, now, nil)
	s.unlock()
	_ = s.deliver(nil, out, now)
}
