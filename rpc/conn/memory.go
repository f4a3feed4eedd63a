package conn

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	minClass = 10 // 1 KiB
	maxClass = 23 // 8 MiB: longer bodies are left to the garbage collector
	// roomClass is the same where memory is bounded ([Room]), 64 MiB: there, garbage would be too much besides.
	roomClass = 26
)

// Memory is a body's, pooled by powers of two. Several may use it: who gets it has it
// once, and it is used again when all have released it. If somebody never does, it is the
// garbage collector's.
type Memory struct {
	b     []byte
	class int // 0: not pooled
	users atomic.Int32

	back     chan struct{} // has an element when all have released it; nil: it is the connection's own
	recalled atomic.Bool
}

var memories [roomClass + 1]sync.Pool

// classOf returns the class of memory for n bytes; above the highest, it is not pooled.
func classOf(n int) int { return max(bits.Len(uint(max(n, 1)-1)), minClass) }

// takeMemory returns at least n bytes.
func takeMemory(n int) *Memory { return takeClass(n, maxClass) }

// takeClass returns at least n bytes, which are pooled up to a class.
func takeClass(n, most int) *Memory {
	class := classOf(n)
	if class > most {
		return &Memory{b: make([]byte, n)}
	}
	m, ok := memories[class].Get().(*Memory)
	if !ok {
		m = &Memory{b: make([]byte, 1<<class), class: class}
	}
	m.users.Store(1)
	return m
}

// Retain has the memory once more.
func (m *Memory) Retain() { m.users.Add(1) }

// Release implements [Releaser].
func (m *Memory) Release() {
	switch {
	case m == nil || m.users.Add(-1) != 0:
	case m.back != nil:
		m.back <- struct{}{}
	case m.class != 0:
		memories[m.class].Put(m)
	}
}

// bufferSize is the size of buffers for short messages, on both sides.
const bufferSize = 16 << 10

// buffer is a pooled buffer of bufferSize.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, bufferSize)} }}

func takeBuffer() *buffer {
	b, _ := buffers.Get().(*buffer)
	return b
}

func (b *buffer) release() {
	b.b = b.b[:0]
	buffers.Put(b)
}
