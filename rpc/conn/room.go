package conn

import (
	"slices"
	"sync"
)

// Room bounds the long messages that several connections take at the same time. One for
// which there is no room waits for its turn, as with [Options].MaxAssembly: its peer is not
// told that it may send the rest. Others may take of it, too, who do not wait: [Room.Spare].
type Room struct {
	size int

	mu      sync.Mutex
	free    int
	waiting []*receiver // in order, each once: for its first message that waits
}

// NewRoom has so many bytes.
func NewRoom(size int) *Room { return &Room{size: size, free: size} }

// round returns what n bytes of a message take: memory is pooled by powers of two.
func (m *Room) round(n int) int {
	if class := classOf(n); class <= roomClass {
		return min(1<<class, max(n, m.size))
	}
	return n
}

// Memory returns memory for n bytes that have room. It is released when the room is given back, or left to
// the garbage collector.
func (*Room) Memory(n int) (b []byte, owner *Memory) {
	m := takeClass(n, roomClass)
	return m.b[:n], m
}

// memory returns memory for n bytes of a message, and knows that it may be many if others
// have room, too.
func (m *Room) memory(n int) *Memory {
	if m == nil {
		return takeMemory(n)
	}
	return takeClass(n, roomClass)
}

// take takes n bytes for the first message that waits at r, if it is r's turn.
func (m *Room) take(r *receiver, n int) bool {
	if m == nil {
		return true
	}
	n = m.round(n)
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

// put gives n bytes back. Those who wait are to be woken then: it tells whether there are some.
func (m *Room) put(n int) (waits bool) {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += m.round(n)
	return len(m.waiting) > 0
}

// Spare takes n bytes, if there are so many and nobody waits for them. Who has them gives
// them back by Put.
func (m *Room) Spare(n int) bool {
	n = m.round(n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.free < n || len(m.waiting) > 0 {
		return false
	}
	m.free -= n
	return true
}

// Owe takes n bytes, whether there are so many or not: of what has memory already.
func (m *Room) Owe(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free -= m.round(n)
}

// Put gives n bytes back that Spare or Owe has taken. It does not wait, and calls nobody.
func (m *Room) Put(n int) {
	if m.put(n) {
		go m.wake()
	}
}

// Wanted tells whether somebody waits for room, or there is none for short messages.
func (m *Room) Wanted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiting) > 0 || m.free < maxChunk
}

// Size returns how many bytes it has.
func (m *Room) Size() int { return m.size }

// Free returns how many bytes nobody has taken.
func (m *Room) Free() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.free
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
