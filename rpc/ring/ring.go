package ring

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Layout of the memory, bytes: for each way a page, in which each field has a cache line, and the data.
//
//	| offset | | of | |
//	|---|---|---|---|
//	| 0 | tail | who writes | bytes that were ever written, 8 bytes |
//	| 64 | wants | who writes | 1: ring when there is room, 4 bytes |
//	| 128 | head | who reads | bytes that were ever read, 8 bytes |
//	| 192 | asleep | who reads | 1: ring when there is something, 4 bytes |
//	| 4096 | data | | byte number n is at n modulo Size |
const (
	// Size is how many bytes there can be on each way that were not read.
	Size = 128 << 10

	offTail   = 0
	offWants  = 64
	offHead   = 128
	offAsleep = 192
	offData   = 4 << 10
	length    = 2 * (offData + Size)
)

// piece is how much is copied before the other side is told.
const piece = 32 << 10

// ErrPeer means that the peer has written what cannot be.
var ErrPeer = errors.New("ring: the peer has broken the memory's rules")

// ring is one way.
type ring struct {
	tail, head    *atomic.Uint64
	wants, asleep *atomic.Uint32
	data          []byte
}

// ways cuts memory into both. The first is for what its maker writes.
func ways(mem []byte) (r [2]ring) {
	for i := range r {
		b := mem[i*(offData+Size):][:offData+Size]
		r[i] = ring{
			tail: (*atomic.Uint64)(unsafe.Pointer(&b[offTail])), head: (*atomic.Uint64)(unsafe.Pointer(&b[offHead])), //nolint:gosec // the memory is longer
			wants: (*atomic.Uint32)(unsafe.Pointer(&b[offWants])), asleep: (*atomic.Uint32)(unsafe.Pointer(&b[offAsleep])), //nolint:gosec // the same
			data: b[offData:],
		}
	}
	return r
}

// rung tells whether a bell is to be rung for who has set a flag, and takes that back.
func rung(flag *atomic.Uint32) bool { return flag.Load() != 0 && flag.Swap(0) != 0 }

// producer writes. Its fields are its own, not the memory's.
type producer struct {
	ring

	at    uint64 // of the next byte
	seen  uint64 // head, when it was last looked at
	limit int    // bytes that may be unread
}

// room returns how many bytes there is room for. wanted is how many there are, so that the peer's
// position is not looked at for nothing.
func (p *producer) room(wanted int) (int, error) {
	n := p.limit - int(p.at-p.seen)
	if n < wanted {
		head := p.head.Load()
		if head < p.seen || head > p.at {
			return 0, fmt.Errorf("%w: it has read %d bytes of %d", ErrPeer, head, p.at)
		}
		p.seen = head
		n = p.limit - int(p.at-p.seen)
	}
	return max(n, 0), nil // the limit may have been greater
}

// put writes as much of b as there is room for.
func (p *producer) put(b []byte) (n int, err error) {
	for len(b) > 0 {
		want := min(len(b), piece)
		room, err := p.room(want)
		if room == 0 || err != nil {
			return n, err
		}
		from := int(p.at % Size)
		m := copy(p.data[from:], b[:min(want, room)])
		b = b[m:]
		n += m
		p.at += uint64(m)
		p.tail.Store(p.at)
	}
	return n, nil
}

// consumer reads. Its fields are its own, not the memory's.
type consumer struct {
	ring

	at uint64 // of the next byte
}

// take reads what there is.
func (c *consumer) take(b []byte) (n int, err error) {
	there, err := c.there()
	for err == nil && there > 0 && n < len(b) {
		from := int(c.at % Size)
		m := copy(b[n:], c.data[from:min(from+there, Size)])
		n += m
		there -= m
		c.at += uint64(m)
		c.head.Store(c.at)
	}
	return n, err
}

// there returns how many bytes are unread.
func (c *consumer) there() (int, error) {
	tail := c.tail.Load()
	if tail < c.at || tail-c.at > Size {
		return 0, fmt.Errorf("%w: it has written %d bytes, %d of them are read", ErrPeer, tail, c.at)
	}
	return int(tail - c.at), nil
}
