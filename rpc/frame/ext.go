package frame

import "encoding/binary"

// Ids of extensions. Those from extCritical on end the connection when they are
// not known; the others are skipped.
const (
	extPadding    = 0 // the rest of the area is zeros
	extMethod     = 1
	extMessageLen = 2
	extUntil      = 3
	extAttempt    = 5
	extLane       = 6
	extTrace      = 7
	extPlainLen   = 8
	extLoad       = 9
	extXID        = 10
	extBlobs      = 11
	extNeeds      = 12
	extCritical   = 0x80
)

const (
	// TraceLen is the length of a trace context: W3C's trace id, parent id and
	// flags.
	TraceLen = 16 + 8 + 1
	// XIDLen is the length of a call's identity: session and seq.
	XIDLen = 16 + 8
	// MaxBlobs is how many blobs a message may have.
	MaxBlobs = 64
	// MaxNeeds is how many results of other calls a call may need.
	MaxNeeds = 8
)

// Ext is what a frame's extensions say. Zero fields are not there.
type Ext struct {
	Method     uint32 // CALL: id of the method, as bound by BIND
	MessageLen uint64 // first frame of a message with FlagMore: its whole length, bytes
	Until      uint64 // CALL: on the server's clock, ns: not to be started from then on
	Attempt    uint8  // CALL: from 1; 0 is the first
	Lane       uint64 // CALL: calls of one lane start in order
	Trace      []byte // TraceLen bytes
	PlainLen   uint64 // with FlagCompressed: length when decompressed, bytes
	Load       uint32 // REPLY: calls that wait at the server
	XID        []byte // CALL: XIDLen bytes; to a worker: as the call's client knows it; of a client: which call this is another attempt at
	Blobs      uint8  // CALL, REPLY: how many blobs are named in front of the body, see package blob
	Needs      []byte // CALL: ids of the calls whose results the body wants, 8 bytes each, at most MaxNeeds: [FeaturePipelining]
}

// Append appends the extensions, padded to a multiple of 8. Nothing is appended
// if all fields are zero.
func (e *Ext) Append(dst []byte) []byte {
	start := len(dst)
	dst = appendU32Ext(dst, extMethod, e.Method)
	dst = appendU64Ext(dst, extMessageLen, e.MessageLen)
	dst = appendU64Ext(dst, extUntil, e.Until)
	if e.Attempt != 0 {
		dst = append(dst, extAttempt, 1, e.Attempt)
	}
	dst = appendU64Ext(dst, extLane, e.Lane)
	dst = appendBytesExt(dst, extTrace, e.Trace)
	dst = appendU64Ext(dst, extPlainLen, e.PlainLen)
	dst = appendU32Ext(dst, extLoad, e.Load)
	dst = appendBytesExt(dst, extXID, e.XID)
	if e.Blobs != 0 {
		dst = append(dst, extBlobs, 1, e.Blobs)
	}
	dst = appendBytesExt(dst, extNeeds, e.Needs)
	for (len(dst)-start)%extUnit != 0 {
		dst = append(dst, 0)
	}
	return dst
}

func appendU32Ext(dst []byte, id byte, v uint32) []byte {
	if v == 0 {
		return dst
	}
	return binary.LittleEndian.AppendUint32(append(dst, id, 4), v)
}

func appendU64Ext(dst []byte, id byte, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return binary.LittleEndian.AppendUint64(append(dst, id, 8), v)
}

func appendBytesExt(dst []byte, id byte, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	return append(append(dst, id, byte(len(v))), v...)
}

// ParseExt parses a frame's extensions. The slices in e point into area.
func ParseExt(area []byte) (e Ext, err error) {
	var seen uint16
	for len(area) > 0 && area[0] != extPadding {
		if len(area) < 2 || len(area)-2 < int(area[1]) {
			return Ext{}, errf(ReasonProtocol, "extension %d is cut off", area[0])
		}
		id, value := area[0], area[2:2+int(area[1])]
		area = area[2+len(value):]
		if id <= extNeeds {
			if seen&(1<<id) != 0 {
				return Ext{}, errf(ReasonProtocol, "extension %d is there twice", id)
			}
			seen |= 1 << id
		}
		if err := e.set(id, value); err != nil {
			return Ext{}, err
		}
	}
	if len(area) >= extUnit {
		return Ext{}, errf(ReasonProtocol, "%d bytes of padding after extensions", len(area))
	}
	for _, b := range area {
		if b != 0 {
			return Ext{}, errf(ReasonProtocol, "padding after extensions is not zero")
		}
	}
	return e, nil
}

func (e *Ext) set(id byte, value []byte) error {
	ok := true
	switch id {
	case extMethod:
		e.Method, ok = u32Ext(value)
	case extMessageLen:
		e.MessageLen, ok = u64Ext(value)
	case extUntil:
		e.Until, ok = u64Ext(value)
	case extAttempt:
		if ok = len(value) == 1 && value[0] != 0; ok {
			e.Attempt = value[0]
		}
	case extLane:
		e.Lane, ok = u64Ext(value)
	case extTrace:
		e.Trace, ok = value, len(value) == TraceLen
	case extPlainLen:
		e.PlainLen, ok = u64Ext(value)
	case extLoad:
		e.Load, ok = u32Ext(value)
	case extXID:
		e.XID, ok = value, len(value) == XIDLen
	case extBlobs:
		if ok = len(value) == 1 && value[0] != 0 && value[0] <= MaxBlobs; ok {
			e.Blobs = value[0]
		}
	case extNeeds:
		e.Needs, ok = value, needs(value)
	default:
		if id >= extCritical {
			return errf(ReasonUnknownExt, "unknown extension %d", id)
		}
	}
	if !ok {
		return errf(ReasonProtocol, "extension %d has the value % x", id, value)
	}
	return nil
}

// needs tells whether a value is a list of call ids.
func needs(b []byte) bool {
	if len(b) == 0 || len(b)%8 != 0 || len(b) > 8*MaxNeeds {
		return false
	}
	for ; len(b) > 0; b = b[8:] {
		if binary.LittleEndian.Uint64(b) == 0 {
			return false
		}
	}
	return true
}

func u32Ext(b []byte) (uint32, bool) {
	if len(b) != 4 {
		return 0, false
	}
	v := binary.LittleEndian.Uint32(b)
	return v, v != 0
}

func u64Ext(b []byte) (uint64, bool) {
	if len(b) != 8 {
		return 0, false
	}
	v := binary.LittleEndian.Uint64(b)
	return v, v != 0
}
