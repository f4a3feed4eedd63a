package remote

import (
	"context"
	"errors"
)

// Memory is what a mover reads from or writes to.
type Memory struct {
	Bytes []byte
	// Segment is the mapped memory that Bytes are a part of, and that stays: registered
	// once, it serves all that come to be in it. nil: Bytes are somewhere in this program.
	Segment []byte
}

// Mover moves bytes between the memory of two machines past the connections of this
// package, as RDMA does. It is safe for concurrent use.
type Mover interface {
	// Ready tells why no line can be made now, as far as it is known without trying.
	Ready() error
	// Line makes one end of a line to the other side of one connection.
	Line() (Line, error)
	// Reason is a word for why something failed, of a closed set.
	Reason(err error) string
	// LetGo is called before a segment is given back, to take it away from devices. If it
	// fails, they may still write there, and the segment is never given back.
	LetGo(segment []byte) error
}

// Line is one end. Who wants bytes pulls them. It is not safe for concurrent use.
type Line interface {
	// Offer is what the other end needs to connect to this one.
	Offer() []byte
	// Connect connects this end to that which has made an offer.
	Connect(offer []byte) error
	// Describe says where bytes are, so that the other end may pull them until over is
	// called or the line is closed.
	Describe(m Memory) (where []byte, over func(), err error)
	// Pull fills memory with what the other end has described. When it returns, well or
	// not, nothing writes there any more; if it can not be sure of that, the error is
	// [ErrStuck], and the memory is never used again.
	Pull(ctx context.Context, m Memory, where []byte) error
	// Err tells why the line is of no use any more; nil: that is not known.
	Err() error
	// Close ends it. After it nobody reads anything by this line.
	Close() error
}

// ErrStuck is a mover's word that something may write to memory for ever.
var ErrStuck = errors.New("a device may still write to this memory")

// MoverMode says whether bytes go by a mover.
type MoverMode uint8

// The modes.
const (
	Auto     MoverMode = iota // if there is one on both sides, and by TCP if it fails
	Required                  // or not at all
	Off                       // never
)

// Reasons of this package why bytes did not go by a mover; others are the mover's own.
const (
	ReasonPeer    = "peer-has-none" // the other side has no mover, or its fails
	ReasonWaiting = "waiting"       // it has failed a moment ago
	ReasonSmall   = "small"         // not worth it
	ReasonStream  = "stream"        // they are not in memory, but come from a reader or go to a writer
	ReasonConn    = "connection"    // what has to be said could not be
)

// MoverError is why bytes that had to go by a mover did not.
type MoverError struct {
	Reason string
	Err    error
}

func (e *MoverError) Error() string {
	if e.Err == nil {
		return "bytes cannot go past the connection: " + e.Reason
	}
	return "bytes cannot go past the connection: " + e.Reason + ": " + e.Err.Error()
}

func (e *MoverError) Unwrap() error { return e.Err }
