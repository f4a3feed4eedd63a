package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrNoServer says that there is nobody to send a call to: it has not been sent.
var ErrNoServer = errors.New("no such server")

// Server is one server of a service, and the node that it is on.
type Server struct {
	Service
	Node Node
}

// Endpoint is a server's process as those want it who connect to it.
type Endpoint struct {
	ID    string // of this instance of the node: another one has another
	Epoch uint64
	Endpoints
}

// Endpoint returns how to reach a node.
func (n *Node) Endpoint() Endpoint {
	return Endpoint{ID: fmt.Sprintf("%s@%x", n.ID, n.Epoch), Epoch: n.Epoch, Endpoints: n.Endpoints}
}

// Service returns the servers of a service, by id.
func (v *View) Service(name string) []Server {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := make([]Server, 0, len(v.services[name]))
	for id, e := range v.services[name] {
		all = append(all, Server{Service{name, id}, e.node})
	}
	slices.SortFunc(all, func(a, b Server) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Endpoints returns the processes that have servers of a service, by rank: each
// once, however many it has.
func (v *View) Endpoints(service string) []Endpoint {
	v.mu.RLock()
	defer v.mu.RUnlock()
	seen := map[*entry]bool{}
	for _, e := range v.services[service] {
		seen[e] = true
	}
	return endpoints(seen)
}

func endpoints(of map[*entry]bool) []Endpoint {
	nodes := make([]*Node, 0, len(of))
	for e := range of {
		nodes = append(nodes, &e.node)
	}
	slices.SortFunc(nodes, func(a, b *Node) int { return cmp.Compare(a.Rank, b.Rank) })
	all := make([]Endpoint, 0, len(nodes))
	for _, n := range nodes {
		all = append(all, n.Endpoint())
	}
	return all
}

// Server returns one server of a service.
func (v *View) Server(service string, id uint64) (Server, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if e := v.services[service][id]; e != nil {
		return Server{Service{service, id}, e.node}, nil
	}
	return Server{}, fmt.Errorf("%w: %q has none with id %d", ErrNoServer, service, id)
}

// Rank returns the node with a rank.
func (v *View) Rank(rank uint32) (Node, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if e := v.ranks[rank]; e != nil {
		return e.node, nil
	}
	return Node{}, fmt.Errorf("%w: none of the %d nodes has rank %d", ErrNoServer, len(v.nodes), rank)
}

// Nodes returns all nodes, by rank.
func (v *View) Nodes() []Node {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := make([]Node, 0, len(v.nodes))
	for _, e := range v.nodes {
		all = append(all, e.node)
	}
	slices.SortFunc(all, func(a, b Node) int { return cmp.Compare(a.Rank, b.Rank) })
	return all
}

// Wait returns the servers of a service when there are n of them.
func (v *View) Wait(ctx context.Context, service string, n int) ([]Server, error) {
	for {
		changed := v.Changed()
		all := v.Service(service)
		if len(all) >= n {
			return all, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%q has %d of %d servers: %w", service, len(all), n, context.Cause(ctx))
		}
	}
}
