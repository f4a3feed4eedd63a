package tracker

import (
	"errors"
	"sync"
	"sync/atomic"

	"rpcpool.dev/tvm"
)

const (
	// idleBuffer is what a connection keeps for reading while nothing comes. It
	// holds any frame of a stock peer but a long registration.
	idleBuffer = 512
	// firstStep is what a longer frame gets first. More comes as its bytes do:
	// a header alone must not cost much.
	firstStep = 4096
	// maxFrameMemory bounds the memory of all frames that have arrived in part.
	maxFrameMemory = 256 << 20
)

var errFrameMemory = errors.New("too much of long frames in flight")

// buffer is a pooled slice.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, firstStep)} }}

func takeBuffer() *buffer {
	b, _ := buffers.Get().(*buffer)
	return b
}

// release puts b back, unless it has grown: whoever takes a buffer next may need
// it for a few bytes only.
func (b *buffer) release() {
	if cap(b.b) <= firstStep {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// inbuf cuts a byte stream into frames. Memory beyond [idleBuffer] is held only
// while a longer frame is in flight.
type inbuf struct {
	memory     *atomic.Int64 // of all long frames in flight
	start, end int           // the unread bytes
	long       *buffer       // nil: small is in use
	small      [idleBuffer]byte
}

func (b *inbuf) bytes() []byte {
	if b.long != nil {
		return b.long.b
	}
	return b.small[:]
}

// empty tells whether no part of a frame is there.
func (b *inbuf) empty() bool { return b.start == b.end }

// next returns the payload of the next frame if all of it is there. It is valid
// until the next call of space.
func (b *inbuf) next() (payload []byte, ok bool, err error) {
	have := b.end - b.start
	if have < tvm.FrameHeader {
		return nil, false, nil
	}
	unread := b.bytes()[b.start:b.end]
	n, err := tvm.FrameLen([tvm.FrameHeader]byte(unread))
	if err != nil {
		return nil, false, err
	}
	if have < tvm.FrameHeader+n {
		return nil, false, nil
	}
	b.start += tvm.FrameHeader + n
	return unread[tvm.FrameHeader : tvm.FrameHeader+n], true, nil
}

// space returns room to read into; added tells how much of it was filled. It
// makes room by moving the unread bytes to the front, by letting go of a long
// buffer, or by growing one.
func (b *inbuf) space() ([]byte, error) {
	b.compact()
	if buf := b.bytes(); b.end < len(buf) {
		return buf[b.end:], nil
	}
	if err := b.grow(); err != nil {
		return nil, err
	}
	return b.bytes()[b.end:], nil
}

func (b *inbuf) added(n int) { b.end += n }

func (b *inbuf) compact() {
	unread := b.bytes()[b.start:b.end]
	if b.long != nil && len(unread) <= idleBuffer && !b.wantsLong(unread) {
		copy(b.small[:], unread)
		b.drop()
	} else if b.start > 0 {
		copy(b.bytes(), unread)
	}
	b.start, b.end = 0, len(unread)
}

// wantsLong tells whether unread begins a frame that small cannot hold.
func (b *inbuf) wantsLong(unread []byte) bool {
	if len(unread) < tvm.FrameHeader {
		return false
	}
	n, err := tvm.FrameLen([tvm.FrameHeader]byte(unread))
	return err == nil && tvm.FrameHeader+n > idleBuffer
}

// grow is called when the buffer is full of one unfinished frame.
func (b *inbuf) grow() error {
	if b.long == nil {
		b.long = takeBuffer()
		b.long.b = b.long.b[:cap(b.long.b)]
		b.memory.Add(int64(len(b.long.b)))
		copy(b.long.b, b.small[:b.end])
		return nil
	}
	old := len(b.long.b)
	if b.memory.Add(int64(old)) > maxFrameMemory {
		b.memory.Add(-int64(old))
		return errFrameMemory
	}
	twice := make([]byte, 2*old)
	copy(twice, b.long.b[:b.end])
	b.long.b = twice
	return nil
}

// drop lets go of the long buffer.
func (b *inbuf) drop() {
	if b.long != nil {
		b.memory.Add(-int64(len(b.long.b)))
		b.long.release()
		b.long = nil
	}
}
