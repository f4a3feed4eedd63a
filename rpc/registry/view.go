package registry

import (
	"errors"
	"fmt"
	"sync"
)

// ErrGap says that an update does not lead on from what a view is. The view is as it
// was; it wants what is since [View.Version].
var ErrGap = errors.New("updates are missing")

// View is what a client knows of all nodes. It is of use also while there is no
// registry. It is safe for concurrent use.
type View struct {
	mu       sync.RWMutex
	version  uint64 // 0: a snapshot is needed
	digest   Digest // of what is not stale
	stale    int    // how many nodes are
	nodes    map[string]*entry
	ranks    map[uint32]*entry
	services map[string]map[uint64]*entry
	changed  chan struct{}
}

type entry struct {
	node   Node
	digest Digest
	stale  bool // of an earlier registry: it may come back
}

// NewView returns an empty view.
func NewView() *View {
	return &View{
		nodes: map[string]*entry{}, ranks: map[uint32]*entry{},
		services: map[string]map[uint64]*entry{}, changed: make(chan struct{}),
	}
}

// Version is that of the last update, to ask for what is since; 0 asks for a
// snapshot.
func (v *View) Version() uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.version
}

// Digest is of all nodes that the registry has: two views with the same one are
// equal.
func (v *View) Digest() Digest {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.digest
}

// Changed is closed at the next change.
func (v *View) Changed() <-chan struct{} {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.changed
}

// Apply makes an update part of the view. One that came twice or late changes
// nothing. It fails with [ErrGap].
func (v *View) Apply(u *Update) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case u.To < v.version || u.To == v.version && u.From != 0:
		return nil
	case u.From > v.version:
		return fmt.Errorf("%w: version is %d, the update is from %d", ErrGap, v.version, u.From)
	case u.From == 0:
		v.age()
	}
	for _, id := range u.Gone {
		v.remove(v.nodes[id])
	}
	for i := range u.Nodes {
		v.put(&u.Nodes[i])
	}
	if !u.Settling {
		v.removeStale()
	}
	v.version = u.To
	close(v.changed)
	v.changed = make(chan struct{})
	if v.digest != u.Digest {
		v.version = 0
		return fmt.Errorf("%w: after the one to version %d the digest is %x, not %x", ErrGap, u.To, v.digest, u.Digest)
	}
	return nil
}

// age makes all nodes stale.
func (v *View) age() {
	for _, e := range v.nodes {
		e.stale = true
	}
	v.stale, v.digest = len(v.nodes), Digest{}
}

func (v *View) removeStale() {
	if v.stale == 0 {
		return
	}
	for _, e := range v.nodes {
		if e.stale {
			v.remove(e)
		}
	}
}

// put makes a node as it is now part of the view. Whoever had its rank or an id of
// its servers is gone, or is told of in the same update.
func (v *View) put(n *Node) {
	v.remove(v.nodes[n.ID])
	v.remove(v.ranks[n.Rank])
	e := &entry{node: *n, digest: n.digest()}
	v.digest.toggle(e.digest)
	v.nodes[n.ID], v.ranks[n.Rank] = e, e
	for _, s := range n.Services {
		v.remove(v.services[s.Name][s.ID])
		if v.services[s.Name] == nil {
			v.services[s.Name] = map[uint64]*entry{}
		}
		v.services[s.Name][s.ID] = e
	}
}

func (v *View) remove(e *entry) {
	if e == nil {
		return
	}
	if e.stale {
		v.stale--
	} else {
		v.digest.toggle(e.digest)
	}
	delete(v.nodes, e.node.ID)
	delete(v.ranks, e.node.Rank)
	for _, s := range e.node.Services {
		if v.services[s.Name][s.ID] == e {
			if delete(v.services[s.Name], s.ID); len(v.services[s.Name]) == 0 {
				delete(v.services, s.Name)
			}
		}
	}
}
