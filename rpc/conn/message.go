package conn

import (
	"context"

	"rpcpool.dev/rpc/frame"
)

// LongBody is the length, in bytes, from which on a body is not copied when it
// is sent.
const LongBody = 8 << 10

// Message is what is sent. Lengths, checksum, FlagMore and Ext.MessageLen are
// filled in.
//
// A Message may be used again when Send has returned. A body of [LongBody]
// bytes or more must not be changed until Owner is released.
type Message struct {
	frame.Header
	Ext   frame.Ext
	Body  []byte
	Owner Releaser // released once when Body is not needed any more; not if sending fails. May be nil
}

// Releaser owns memory.
type Releaser interface{ Release() }

// Peer is the other side, over a socket or in this process.
type Peer interface {
	// Send sends a message, and waits while the queue is full.
	Send(ctx context.Context, m *Message) error
	// TrySend is Send, but fails with ErrBackpressure instead of waiting.
	TrySend(m *Message) error
	// Queue is TrySend for use inside [Handler.Message]: what is queued is
	// written when the reader has handled all that it has read, in one go.
	Queue(m *Message) error
	// Hold keeps the connection from being reaped until Release. It fails if
	// the connection is being closed already.
	Hold() bool
	// Release ends a Hold.
	Release()
}

// Handler takes what a peer sends.
type Handler interface {
	// Message takes a message, or a control frame. It is called by the reader of
	// the connection, which does nothing else meanwhile, so it must not wait.
	// in and what it points to are valid until it returns; see [In.Keep].
	Message(p Peer, in *In)
	// Closed is the last call for a peer: why the connection ended, and the seqs
	// of calls that were accepted by Send although not a byte of them was given
	// to the kernel.
	Closed(p Peer, err error, unsent []uint64)
}

// In is a message that has arrived, whole.
type In struct {
	frame.Header
	Ext  frame.Ext
	Body []byte

	mem      *Memory   // owns Body; nil: the reader's buffer does
	own      Releaser  // owns Body, in process
	from     *receiver // to be told when the message is let go of; nil: in process
	held     held
	kept     bool
	replaced bool // Body is not the reader's
}

// Detacher owns memory that somebody may go on having when it is let go of.
type Detacher interface {
	Releaser
	// Detach is Release, but the memory must be left alone.
	Detach()
}

// Owned makes a message that has come by other ways. Whoever keeps it releases its owner in the end.
func Owned(h frame.Header, e frame.Ext, body []byte, owner Releaser) *In {
	return &In{Header: h, Ext: e, Body: body, own: owner}
}

// Kept tells whether somebody has kept the message.
func (in *In) Kept() bool { return in.kept }

// Keep makes the message outlive [Handler.Message]: it returns one that is valid
// until its Release. Until then it counts against the peer's window.
func (in *In) Keep() *In {
	kept := &In{Header: in.Header, Ext: in.Ext, Body: in.Body, mem: in.mem, own: in.own, from: in.from, held: in.held}
	if in.from != nil {
		kept.Ext.Trace = append([]byte(nil), in.Ext.Trace...)
		kept.Ext.XID = append([]byte(nil), in.Ext.XID...)
		kept.Ext.Needs = append([]byte(nil), in.Ext.Needs...)
		if in.mem == nil && len(in.Body) > 0 && !in.replaced {
			kept.mem = takeMemory(len(in.Body))
			kept.Body = kept.mem.b[:len(in.Body)]
			copy(kept.Body, in.Body)
		}
	}
	in.kept = true
	return kept
}

// Roomy tells whether the message has room of its own, and not a part of the peer's window:
// that is so of long ones.
func (in *In) Roomy() bool { return in.held.room > 0 }

// Replace gives the message another body, which is nobody's but the message's: what the one
// that came has been made to. It is for a [Handler], before it keeps the message.
func (in *In) Replace(body []byte) {
	if in.mem != nil {
		in.mem.Release()
	}
	in.mem, in.Body, in.replaced = nil, body, true
}

// Detach is Release, but Body stays as it is until the memory that is returned is released,
// or if there is none, for as long as anybody has it: of a peer in this process, it is the
// sender's memory, who must leave it alone then.
func (in *In) Detach() *Memory {
	mem := in.mem
	in.mem = nil
	switch own := in.own.(type) {
	case nil:
	case Detacher:
		own.Detach()
	default:
		own.Release()
	}
	if in.from != nil {
		in.from.release(in.held)
	}
	return mem
}

// Release lets go of a kept message. It must be called once, and Body not be
// used afterwards.
func (in *In) Release() {
	in.mem.Release()
	in.mem, in.Body = nil, nil
	if in.own != nil {
		in.own.Release()
	}
	if in.from != nil {
		in.from.release(in.held)
	}
}
