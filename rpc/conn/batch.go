package conn

import (
	"encoding/binary"

	"rpcpool.dev/rpc/frame"
)

const (
	// maxBatch is how much is written by one call, in bytes, unless the socket is
	// full: then maxChunk, because what is in a batch cannot be overtaken.
	maxBatch = 256 << 10
	maxParts = 64
)

// part is a piece of a batch.
type part struct {
	bytes  []byte
	frames bool      // bytes start with a frame that is the first of its message
	short  *buffer   // to be given back when written
	long   *outgoing // that bytes belong to
	last   bool      // of long: to be released when written
}

// batch is what is being written.
type batch struct {
	parts []part
	done  int      // parts that are written
	size  int      // bytes, in all
	iov   [][]byte // what is left of parts[done:]
	heads [maxParts * frame.HeaderLen]byte
}

// head returns memory for the header of the next part.
func (b *batch) head() []byte {
	at := len(b.parts) * frame.HeaderLen
	return b.heads[at : at+frame.HeaderLen]
}

func (b *batch) room(limit int) bool {
	return b.size < limit && len(b.parts) < maxParts-1 // a long frame has two parts
}

func (b *batch) add(p part) {
	b.parts = append(b.parts, p)
	b.iov = append(b.iov, p.bytes)
	b.size += len(p.bytes)
}

// left returns what is to be written.
func (b *batch) left() [][]byte { return b.iov[b.done:] }

// wrote notes that n more bytes are written, and gives back what is not needed
// any more.
func (b *batch) wrote(n int) {
	for b.done < len(b.parts) {
		left := b.iov[b.done]
		if n < len(left) {
			b.iov[b.done] = left[n:]
			return
		}
		n -= len(left)
		p := &b.parts[b.done]
		if p.short != nil {
			p.short.release()
		}
		if p.last {
			p.long.done()
		}
		b.done++
	}
	b.reset()
}

func (b *batch) reset() {
	clear(b.parts)
	clear(b.iov)
	b.parts, b.iov, b.done, b.size = b.parts[:0], b.iov[:0], 0, 0
}

// abandon empties a batch that cannot be written. It appends the seqs of calls
// of which not a byte was, and returns the long messages that end in it.
func (b *batch) abandon(unsent []uint64) (seqs []uint64, last []*outgoing) {
	for i := b.done; i < len(b.parts); i++ {
		p := &b.parts[i]
		if p.frames {
			written := len(p.bytes) - len(b.iov[i])
			unsent = appendCalls(unsent, p.bytes[skip(p.bytes, written):])
		}
		if p.last {
			last = append(last, p.long)
		}
	}
	b.reset()
	return unsent, last
}

// skip returns where the first frame begins that is not among the first n bytes,
// not even in part.
func skip(b []byte, n int) int {
	at := 0
	for at < n {
		at += frameLen(b[at:])
	}
	return min(at, len(b))
}

// frameLen returns the length of the frame at the start of b, which we made.
func frameLen(b []byte) int {
	return frame.HeaderLen + int(binary.LittleEndian.Uint32(b))
}

// appendCalls appends the seqs of the calls among whole frames that we made. Of
// the last frame, the header is enough.
func appendCalls(seqs []uint64, b []byte) []uint64 {
	for len(b) > 0 {
		h, err := frame.ParseHeader(b, frame.LimitMaxFrame)
		if err != nil {
			return seqs // cannot be: we made it
		}
		if h.Type == frame.TypeCall {
			seqs = append(seqs, h.Seq)
		}
		b = b[min(h.Len(), len(b)):]
	}
	return seqs
}
