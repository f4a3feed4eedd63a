package registry

import (
	"cmp"
	"slices"
)

// at returns who has a rank, nil if nobody does.
func (r *Registry) at(rank uint32) *member {
	if int(rank) < len(r.ranks) {
		return r.ranks[rank]
	}
	return nil
}

// freeRank returns the lowest free rank.
func (r *Registry) freeRank() uint32 {
	for r.low < len(r.ranks) && r.ranks[r.low] != nil {
		r.low++
	}
	return uint32(r.low)
}

func (r *Registry) takeRank(n *member) {
	for int(n.node.Rank) >= len(r.ranks) {
		r.ranks = append(r.ranks, nil)
	}
	r.ranks[n.node.Rank] = n
}

func (r *Registry) giveRank(n *member) {
	r.ranks[n.node.Rank] = nil
	r.low = min(r.low, int(n.node.Rank))
}

// assign returns a node's servers with the ids that were left open, sorted. n is
// the node if it is known; nothing is changed yet.
func (r *Registry) assign(n *member, wanted []Service) ([]Service, error) {
	all := slices.Clone(wanted)
	for i := range all {
		s := &all[i]
		if s.ID == 0 {
			s.ID = r.automatic(n, s.Name, all)
		}
		if s.ID > r.id {
			return nil, refuse(Malformed, 0, "server id %d of %q was not given by a registry, and is not below %d", s.ID, s.Name, uint64(FirstAutomatic))
		}
		if has := r.servers[*s]; has != nil && has != n {
			return nil, refuse(Duplicate, 0, "server %d of %q is on node %q", s.ID, s.Name, has.node.ID)
		}
	}
	slices.SortFunc(all, func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// automatic returns an id for a server of n: one that n has for it already, unless
// it is in use, or a new one.
func (r *Registry) automatic(n *member, name string, used []Service) uint64 {
	if n != nil {
		for _, s := range n.node.Services {
			if s.Name == name && s.ID >= FirstAutomatic && !slices.Contains(used, s) {
				return s.ID
			}
		}
	}
	return r.nextID()
}

func (r *Registry) serve(n *member) {
	for _, s := range n.node.Services {
		r.servers[s] = n
	}
}

func (r *Registry) unserve(n *member) {
	for _, s := range n.node.Services {
		delete(r.servers, s)
	}
}
