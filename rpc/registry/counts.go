package registry

import "time"

// Counts are what there is at a registry, and what has happened since its start.
type Counts struct {
	Nodes    int
	Suspect  int // nodes that have not renewed in time, and are not fenced yet
	Servers  int
	Services int    // names that servers have
	Locks    int    // that somebody has
	Load     uint64 // calls that wait at all nodes, as they said last
	Settling bool
	Epochs   uint64 // that were given: nodes that came as new ones
	Left     uint64 // nodes that said that they go
	Lost     uint64 // nodes that were fenced, for they did not renew
}

// Counts returns what there is. It takes time with the number of nodes.
func (r *Registry) Counts(now time.Duration) Counts {
	r.advance(now)
	c := Counts{
		Nodes: len(r.byID), Servers: len(r.servers), Settling: r.settling,
		Epochs: r.given, Left: r.left, Lost: r.lost,
	}
	names := map[string]struct{}{}
	for s := range r.servers {
		names[s.Name] = struct{}{}
	}
	c.Services = len(names)
	for _, n := range r.byID {
		c.Load += uint64(n.load)
		if r.now-n.renewed >= r.opts.Lease.Self {
			c.Suspect++
		}
	}
	for _, l := range r.locks {
		if l.holder != nil {
			c.Locks++
		}
	}
	return c
}
