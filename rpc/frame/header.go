package frame

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	// HeaderLen is the length of a frame's header, in bytes.
	HeaderLen = 32
	// MaxExt is the most that the extensions of one frame take, in bytes.
	MaxExt = 255 * extUnit
	// DefaultMaxFrame bounds a frame's body where nothing else is said, in bytes.
	DefaultMaxFrame = 256 << 10
	// LimitMaxFrame is the highest bound of a body that a peer may say, in bytes.
	LimitMaxFrame = 16 << 20
	// MessageAllowance is how much of a message, counted in bytes of bodies, may
	// be sent before the receiver has said a limit for it.
	MessageAllowance = 256 << 10

	extUnit   = 8
	crcOffset = HeaderLen - 4
	maxCodec  = 1<<6 - 1
)

// Header is a frame's header.
type Header struct {
	Type     Type
	Flags    Flags
	Priority Priority // of messages; 0 of control
	Codec    uint8    // of messages, at most 63; what it means is the caller's
	Seq      uint64   // call id, or what the type says
	Ack      uint64   // every reply up to it has arrived
	Deadline Deadline // time left
	ExtLen   int      // bytes, a multiple of 8
	BodyLen  int      // bytes
	CRC      uint32   // only with FlagCRC
}

// Len returns the length of the whole frame, in bytes.
func (h *Header) Len() int { return HeaderLen + h.ExtLen + h.BodyLen }

// Put writes the header to the first [HeaderLen] bytes of b. It trusts h.
func (h *Header) Put(b []byte) {
	_ = b[HeaderLen-1]
	binary.LittleEndian.PutUint32(b, uint32(h.ExtLen+h.BodyLen))
	b[4] = byte(h.Type)
	b[5] = byte(h.Flags)
	b[6] = byte(h.Priority) | h.Codec<<2
	b[7] = byte(h.ExtLen / extUnit)
	binary.LittleEndian.PutUint64(b[8:], h.Seq)
	binary.LittleEndian.PutUint64(b[16:], h.Ack)
	binary.LittleEndian.PutUint32(b[24:], uint32(h.Deadline))
	binary.LittleEndian.PutUint32(b[crcOffset:], h.CRC)
}

// Append appends a whole frame. ext must be made by [Ext.Append]. The lengths
// in h are those of ext and body, whatever h says; a checksum is filled in if h
// has [FlagCRC].
func Append(dst []byte, h *Header, ext, body []byte) []byte {
	h.ExtLen, h.BodyLen = len(ext), len(body)
	start := len(dst)
	dst = append(dst, make([]byte, HeaderLen)...)
	h.Put(dst[start:])
	dst = append(append(dst, ext...), body...)
	if h.Flags&FlagCRC != 0 {
		Seal(dst[start:start+HeaderLen], ext, body)
	}
	return dst
}

// ParseHeader parses the first [HeaderLen] bytes of b and checks all that can be
// checked before the rest has come. maxFrame bounds the body, in bytes. A header
// of an unknown type is returned, without an error, if it is optional: then the
// rest is to be skipped.
func ParseHeader(b []byte, maxFrame int) (Header, error) {
	_ = b[HeaderLen-1]
	h := Header{
		Type:     Type(b[4]),
		Flags:    Flags(b[5]),
		Priority: Priority(b[6] & 3),
		Codec:    b[6] >> 2,
		Seq:      binary.LittleEndian.Uint64(b[8:]),
		Ack:      binary.LittleEndian.Uint64(b[16:]),
		Deadline: Deadline(binary.LittleEndian.Uint32(b[24:])),
		ExtLen:   int(b[7]) * extUnit,
		CRC:      binary.LittleEndian.Uint32(b[crcOffset:]),
	}
	n := int(binary.LittleEndian.Uint32(b))
	h.BodyLen = n - h.ExtLen
	if h.BodyLen < 0 || h.BodyLen > maxFrame {
		return Header{}, h.badLength(n, maxFrame)
	}
	return h, h.check()
}

func (h *Header) badLength(n, maxFrame int) error {
	if h.BodyLen < 0 {
		return errf(ReasonProtocol, "%v frame of %d bytes has %d bytes of extensions", h.Type, n, h.ExtLen)
	}
	return errf(ReasonFrameSize, "%v frame has a body of %d bytes, at most %d are allowed", h.Type, h.BodyLen, maxFrame)
}

// check holds a header against the shape of its type.
func (h *Header) check() error {
	if !h.Type.Known() {
		if h.Flags&FlagOptional != 0 {
			return nil
		}
		return errf(ReasonUnknownType, "frame of unknown type %d", uint8(h.Type))
	}
	s := &shapes[h.Type]
	switch {
	case h.BodyLen < s.minBody:
		return errf(ReasonProtocol, "%v has a body of %d bytes, at least %d are needed", h.Type, h.BodyLen, s.minBody)
	case s.maxBody != anyLength && h.BodyLen > s.maxBody:
		return errf(ReasonFrameSize, "%v has a body of %d bytes, at most %d are allowed", h.Type, h.BodyLen, s.maxBody)
	case h.Flags&^s.flags != 0:
		return errf(ReasonProtocol, "%v has flags %#x, only %#x are allowed", h.Type, h.Flags, s.flags)
	case s.metered != (h.Priority != PriorityControl):
		return errf(ReasonProtocol, "%v has priority %d", h.Type, h.Priority)
	case !s.metered && h.Codec != 0:
		return errf(ReasonProtocol, "%v has codec %d, but is control", h.Type, h.Codec)
	case s.seq && h.Seq == 0:
		return errf(ReasonProtocol, "%v has no seq", h.Type)
	case h.Flags&FlagCRC == 0 && h.CRC != 0:
		return errf(ReasonProtocol, "%v has a checksum without the flag", h.Type)
	}
	return nil
}

// Check fails if a header cannot be sent. Lengths are not checked.
func (h *Header) Check() error {
	if !h.Type.Known() || h.Codec > maxCodec || h.Priority >= Priorities {
		return errf(ReasonProtocol, "%v with priority %d, codec %d cannot be sent", h.Type, h.Priority, h.Codec)
	}
	c := *h
	c.BodyLen = shapes[c.Type].minBody
	c.CRC = 0
	return c.check()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC-32C of a frame: of its header without the last four
// bytes, its extensions and its body.
func Checksum(header, ext, body []byte) uint32 {
	sum := crc32.Update(0, castagnoli, header[:crcOffset])
	return crc32.Update(crc32.Update(sum, castagnoli, ext), castagnoli, body)
}

// Seal writes the checksum into a header that is complete but for it.
func Seal(header, ext, body []byte) {
	binary.LittleEndian.PutUint32(header[crcOffset:], Checksum(header, ext, body))
}

// Verify fails if a frame with [FlagCRC] has another checksum than its own.
func Verify(header, ext, body []byte) error {
	got, want := binary.LittleEndian.Uint32(header[crcOffset:]), Checksum(header, ext, body)
	if got != want {
		return errf(ReasonChecksum, "%v has checksum %#x, its bytes have %#x", Type(header[4]), got, want)
	}
	return nil
}
