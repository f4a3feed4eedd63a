package conn

import (
	"math/bits"
	"sync"
)

const (
	minClass = 10 // 1 KiB
	maxClass = 23 // 8 MiB: longer bodies are left to the garbage collector
)

// memory is a body's, pooled by powers of two.
type memory struct {
	b     []byte
	class int // 0: not pooled
}

var memories [maxClass + 1]sync.Pool

// takeMemory returns at least n bytes.
func takeMemory(n int) *memory {
	class := max(bits.Len(uint(max(n, 1)-1)), minClass)
	if class > maxClass {
		return &memory{b: make([]byte, n)}
	}
	if m, ok := memories[class].Get().(*memory); ok {
		return m
	}
	return &memory{b: make([]byte, 1<<class), class: class}
}

func (m *memory) release() {
	if m != nil && m.class != 0 {
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
