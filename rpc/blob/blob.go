package blob

import (
	"fmt"
	"math"
	"time"
)

// State is where a blob is in its life.
type State uint8

// The states of a blob.
const (
	Freed     State = iota // nobody has it, its memory may be used again
	Allocated              // nobody but its owner has access
	Shared                 // whoever has a handle has access
	Draining               // its owner has let it go, others still have it
)

func (s State) String() string {
	return [...]string{"freed", "allocated", "shared", "draining"}[s]
}

// Mode is how somebody uses a blob.
type Mode uint8

// The modes of use.
const (
	Pin   Mode = iota // only keeps it
	In                // reads it
	Out               // makes it
	InOut             // reads and changes it, with nobody else
	modes
)

func (m Mode) String() string {
	if m >= modes {
		return fmt.Sprintf("mode %d", uint8(m))
	}
	return [...]string{"pin", "in", "out", "inout"}[m]
}

func (m Mode) rights() Rights {
	return [...]Rights{0, Read, Read | Write, Read | Write}[m]
}

func (m Mode) writes() bool { return m == Out || m == InOut }

// lastGeneration is the last that an id may have to be used again: the next blob takes
// one more, and another if it is the result of a call, or is used again.
const lastGeneration = math.MaxUint32 - 2

type blob struct {
	id         uint64
	generation uint32
	first      uint32 // generation that its owner has, which may have been used again since
	state      State
	owner      *party // nil: it has let the blob go
	payer      *party // whose quota it counts to: its first owner
	size       uint64
	lend       Rights // what others may ever do
	where      extent
	born       time.Duration
	refs       []*ref
	dirty      bool
	pending    bool // to be seen when the call that makes it has succeeded
}

// RefID names a reference. It is not used again.
type RefID uint64

// ref keeps a blob, and says who uses which bytes of it.
type ref struct {
	id            RefID
	blob          *blob
	holder        *party
	loan          *loan // nil: not for a call
	mode          Mode
	offset, until uint64 // bytes of the blob
	since         time.Duration
	expires       time.Duration // 0: with the holder's lease
	ending        bool          // it is about to be returned
}

// place is where the range of a handle is.
func (b *blob) place(h Handle, write bool) Place {
	return Place{
		Segment: b.where.segment.id, SegmentBytes: b.where.segment.bytes,
		Offset: uint64(b.where.first)*Page + h.Offset, Length: h.Length, Write: write,
		Group: b.where.segment.group.owner,
	}
}

// free tells whether bytes of the blob may be used in this way now.
func (b *blob) free(h Handle, mode Mode) error {
	var busy *BusyError
	for _, r := range b.refs {
		if (mode.writes() && r.mode != Pin || r.mode.writes() && mode != Pin) &&
			r.offset < h.Offset+h.Length && h.Offset < r.until {
			if busy = (&BusyError{h, r.mode, r.holder.name, r.ending}); !r.ending {
				break
			}
		}
	}
	if busy == nil {
		return nil
	}
	return busy
}
