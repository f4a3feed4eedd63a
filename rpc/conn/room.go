package conn

import (
	"slices"
	"sync"
)

// Room bounds the long messages that several connections take at the same time. One for
// which there is no room waits for its turn, as with [Options].MaxAssembly: its peer is not
// told that it may send the rest.
type Room struct {
	size int

	mu      sync.Mutex
	free    int
	waiting []*receiver // in order, each once: for its first message that waits
}

// NewRoom has so many bytes.
func NewRoom(size int) *Room { return &Room{size: size, free: size} }

// take takes n bytes for the first message that waits at r, if it is r's turn.
func (m *Room) take(r *receiver, n int) bool {
	if m == nil {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch turn := slices.Index(m.waiting, r); {
	case m.free >= n && turn == 0:
		m.waiting = m.waiting[1:]
	case m.free >= n && len(m.waiting) == 0:
	case turn < 0:
		m.waiting = append(m.waiting, r)
		return false
	default:
		return false
	}
	m.free -= n
	return true
}

// put gives n bytes back. Those who wait are to be woken then.
func (m *Room) put(n int) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += n
}

// forget takes r out of those who wait.
func (m *Room) forget(r *receiver) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.waiting, r); i >= 0 {
		m.waiting = slices.Delete(m.waiting, i, i+1)
	}
}

// wake lets those who wait take what there is. The caller holds no receiver's lock.
func (m *Room) wake() {
	for first := m.first(); first != nil; first = m.first() {
		if !first.retry() {
			return
		}
	}
}

// first is whose turn it is; nil: nobody waits.
func (m *Room) first() *receiver {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiting) == 0 {
		return nil
	}
	return m.waiting[0]
}

// retry gives room to messages that wait, and tells the peer. It returns false if there is
// none.
func (r *receiver) retry() bool {
	var n notice
	r.mu.Lock()
	r.admit(&n)
	r.mu.Unlock()
	r.c.tell(n, true)
	return n.any
}
