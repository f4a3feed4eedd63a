package worker

import (
	"encoding/binary"
	"errors"
	"io"

	"rpcpool.dev/tvm"
)

const (
	// window is the size of the buffer that small packets are decoded in,
	// in bytes. Every call without big arguments fits.
	window = 64 << 10
	// firstGrowth is what is allocated at once for a packet that does not fit,
	// in bytes; the buffer then doubles as its bytes arrive.
	firstGrowth = 1 << 20

	codeSize = 4 // the i32 that every packet starts with
)

// quickAcker is a connection that can be told to acknowledge what it has
// received at once. A client that writes a packet in two sends with Nagle's
// algorithm on holds the second back until then.
type quickAcker interface{ QuickAck() }

// reader cuts a byte stream into packets.
type reader struct {
	src        io.Reader
	ack        quickAcker // nil if the connection is none
	buf        []byte
	start, end int // what of buf is read and not consumed
	grown      bool
}

func newReader(src io.Reader) *reader {
	ack, _ := src.(quickAcker)
	return &reader{src: src, ack: ack, buf: make([]byte, window)}
}

// length reads the length of the next packet, in bytes. It returns io.EOF
// itself if the peer ended between packets.
func (r *reader) length() (uint64, error) {
	if err := r.fill(tvm.PacketHeader, false); err != nil {
		gone := errors.Is(err, io.EOF) || isReset(err)
		if gone && r.start == r.end {
			return 0, io.EOF
		}
		return 0, readError(err)
	}
	n := binary.LittleEndian.Uint64(r.buf[r.start:])
	r.start += tvm.PacketHeader
	return n, nil
}

// peek returns the next n bytes, at most window, and leaves them in place.
// They are valid until the next call of another method.
func (r *reader) peek(n int) ([]byte, error) {
	if err := r.fill(n, true); err != nil {
		return nil, readError(err)
	}
	return r.buf[r.start : r.start+n], nil
}

// take returns the next n bytes and whether the caller owns them; if not, they
// are valid until the next call.
func (r *reader) take(n uint64) (b []byte, owned bool, err error) {
	if n <= window {
		b, err = r.peek(int(n))
		r.start += len(b)
		return b, false, err
	}
	b, err = r.grow(n)
	return b, true, err
}

// grow reads n bytes into a buffer of their own, which is never more than twice
// what has arrived.
func (r *reader) grow(n uint64) ([]byte, error) {
	r.grown = true
	b := make([]byte, min(n, firstGrowth))
	for have := uint64(0); ; {
		if err := r.read(b[have:]); err != nil {
			return nil, err
		}
		have = uint64(len(b))
		if have == n {
			return b, nil
		}
		next := make([]byte, min(n, 2*have))
		copy(next, b)
		b = next
	}
}

// read fills dst, the part that is not buffered yet straight from the peer.
func (r *reader) read(dst []byte) error {
	n := copy(dst, r.buf[r.start:r.end])
	r.start += n
	for n < len(dst) {
		r.hurry()
		m, err := r.src.Read(dst[n:])
		n += m
		if err != nil && n < len(dst) {
			return readError(err)
		}
	}
	return nil
}

// skip throws the next n bytes away.
func (r *reader) skip(n uint64) error {
	for n > 0 {
		if r.start == r.end {
			if err := r.fill(1, true); err != nil {
				return readError(err)
			}
		}
		m := min(n, uint64(r.end-r.start))
		r.start += int(m)
		n -= m
	}
	return nil
}

// fill reads until at least n bytes, at most window, are buffered. inside says
// that they continue a packet.
func (r *reader) fill(n int, inside bool) error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if r.start+n > len(r.buf) {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	for r.end-r.start < n {
		if inside || r.end > r.start {
			r.hurry()
		}
		m, err := r.src.Read(r.buf[r.end:])
		r.end += m
		if err != nil && r.end-r.start < n {
			return err
		}
	}
	return nil
}

// hurry asks for the rest of a packet. It is called where one was cut only, so a
// request that comes whole costs no system call more.
func (r *reader) hurry() {
	if r.ack != nil {
		r.ack.QuickAck()
	}
}
