package blob

import (
	"encoding/binary"
	"fmt"
)

// ArgLen is the length of an encoded argument, bytes.
const ArgLen = HandleLen + 16

// MostArgs is how many blobs a call may have as arguments.
const MostArgs = 64

const (
	argSnapshot = 1 << iota
	argBody
	argAgain
	argRoom
	argFlags
)

// Arg is a blob as an argument of a call.
type Arg struct {
	Handle   Handle // of the bytes; Out: of the account that the result is made for
	Mode     Mode
	Snapshot bool   // InOut: unless the call succeeds, the bytes are what they were before it
	Body     bool   // the bytes are the body of the message, of which nothing follows
	Size     uint64 // Out, as a caller asks for it: how long the result may be at most; Again: how long the argument is; bytes

	// Again, of In, says that what begins where the handle does is the argument, and that the blob's owner wants to
	// use it again when the call has ended: see [Table.Begin]. Its owner is known by the account that the server fills in.
	Again   bool
	Account Handle // not encoded

	// Room, of Out to a worker, is for a result that may be long, as the last one was.
	Room bool

	// From a server only, of an argument or a result: where the bytes are, so that who gets it need
	// not ask. Segment 0: not said.
	Segment SegmentID
	Offset  uint64 // in the segment, bytes
}

// AppendArgs appends arguments as they go before the body of a message.
func AppendArgs(dst []byte, args []Arg) []byte {
	for _, a := range args {
		flags := byte(0)
		if a.Snapshot {
			flags = argSnapshot
		}
		if a.Body {
			flags |= argBody
		}
		if a.Again {
			flags |= argAgain
		}
		if a.Room {
			flags |= argRoom
		}
		dst = append(a.Handle.Append(dst), byte(a.Mode), flags, 0, 0)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(a.Segment))
		dst = binary.LittleEndian.AppendUint64(dst, a.Size|a.Offset) // one of them is 0
	}
	return dst
}

// ParseArgs decodes the count arguments in front of a message, and returns what is
// behind them. It fails with [ErrMalformed].
func ParseArgs(b []byte, count int) (args []Arg, body []byte, err error) {
	if count < 0 || count > MostArgs || len(b) < count*ArgLen {
		return nil, nil, fmt.Errorf("%w: %d blobs in %d bytes", ErrMalformed, count, len(b))
	}
	for i := range count {
		a, err := parseArg(b[i*ArgLen : (i+1)*ArgLen])
		if err != nil {
			return nil, nil, fmt.Errorf("blob %d: %w", i, err)
		}
		args = append(args, a)
	}
	return args, b[count*ArgLen:], nil
}

func parseArg(b []byte) (Arg, error) {
	h, err := ParseHandle(b[:HandleLen])
	if err != nil {
		return Arg{}, err
	}
	b = b[HandleLen:]
	a := Arg{
		Handle: h, Mode: Mode(b[0]), Snapshot: b[1]&argSnapshot != 0, Body: b[1]&argBody != 0,
		Again: b[1]&argAgain != 0, Room: b[1]&argRoom != 0,
		Segment: SegmentID(binary.LittleEndian.Uint32(b[4:])),
	}
	if number := binary.LittleEndian.Uint64(b[8:]); a.Segment != 0 {
		a.Offset = number
	} else {
		a.Size = number
	}
	switch {
	case a.Mode == Pin || a.Mode >= modes:
		return Arg{}, fmt.Errorf("%w: %v as an argument", ErrMalformed, a.Mode)
	case b[1] >= argFlags || a.Snapshot && a.Mode != InOut || a.Again && (a.Mode != In || a.Segment != 0) || a.Room && a.Mode != Out:
		return Arg{}, fmt.Errorf("%w: flags %#x of an argument %v", ErrMalformed, b[1], a.Mode)
	case b[2]|b[3] != 0:
		return Arg{}, fmt.Errorf("%w: reserved bytes of an argument are not zero", ErrMalformed)
	case a.Mode != Out && !a.Again && a.Size != 0:
		return Arg{}, fmt.Errorf("%w: size %d of an argument %v", ErrMalformed, a.Size, a.Mode)
	}
	return a, nil
}
