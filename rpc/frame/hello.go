package frame

import (
	"encoding/binary"
	"time"
	"unicode/utf8"
)

// Versions of the wire that this package speaks.
const (
	MinVersion = 1
	MaxVersion = 1
)

const (
	// MaxHello is the longest body of a half of the handshake, in bytes. It is
	// all that a peer may send before it is known.
	MaxHello = 64 << 10
	// MinMaxFrame is the smallest bound of a body that a peer may ask for, bytes.
	MinMaxFrame = 8 << 10

	helloFixed    = 8 + 5*8 + 8 + 2*2
	helloAckFixed = 8 + 4*8 + 4*4 + 8 + 2
)

// Features is a set of abilities.
type Features uint64

// Features. FeatureRDMA is reserved: its place is kept, and no peer of this version
// has it.
const (
	FeatureCRC          Features = 1 << iota // checksums may be asked for
	FeatureStreams                           // calls and replies of several messages
	FeatureCompression                       // see Hello.Compressors
	FeatureBlobs                             // messages may name blobs: [BlobOffer]
	FeatureSharedMemory                      // of blobs that are in memory of this machine
	FeatureRDMA
	// FeatureBulk: the server has bulk connections. If a client requires it, this is one:
	// after the handshake nothing but the bytes of blobs, and what they need, goes over it.
	FeatureBulk
	// FeaturePipelining: calls may need results of others: [Ext].Needs.
	FeaturePipelining
	// FeatureBulkCopy: on bulk connections, bytes that are at the server may be copied there.
	FeatureBulkCopy
	// FeatureBlobReuse: arguments in blobs are used again, and workers have room for results: [BlobGrantLen].
	FeatureBlobReuse
	// FeatureRing: messages to a worker, and from it, go by memory that both processes have.
	FeatureRing
)

// Limits is what a peer takes from the other.
type Limits struct {
	MaxFrame   uint32 // body of a frame, bytes: MinMaxFrame to LimitMaxFrame
	MaxMessage uint64 // message, bytes
	Window     uint64 // first credit of the connection, bytes
}

// Hello is the client's half of the handshake.
type Hello struct {
	MinVersion, MaxVersion uint16 // that the client speaks
	Limits
	Features    Features // that the client has
	Required    Features // without which it does not want the connection
	Codecs      uint64   // bit n: codec n
	Compressors uint32   // bit n: compressor n
	Token       []byte   // credentials; points into the body
	Target      []byte   // service or pool that is wanted; points into the body
}

// HelloAck is the server's half of the handshake. If Reason is not
// [ReasonNone], the connection is refused, no call that was sent behind the
// HELLO has run, and only Text counts.
type HelloAck struct {
	Version uint16
	Reason  Reason
	Limits
	Features    Features      // that both have
	Codecs      uint64        // that both have
	Compressors uint32        // that both have
	Lease       time.Duration // of the session, whole milliseconds
	MaxDeadline Deadline      // of calls that have none
	MaxOpen     uint32        // calls that a session may have open; 0: not said
	Epoch       uint64        // of the server's registration: fencing token
	Machine     time.Duration // of a worker: CLOCK_MONOTONIC; 0: not said
	Text        []byte        // for people, UTF-8, at most 1024 bytes; points into the body
}

// Append appends the body.
func (h *Hello) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, h.MinVersion)
	dst = le.AppendUint16(dst, h.MaxVersion)
	dst = le.AppendUint32(dst, h.MaxFrame)
	for _, v := range [...]uint64{h.MaxMessage, h.Window, uint64(h.Features), uint64(h.Required), h.Codecs} {
		dst = le.AppendUint64(dst, v)
	}
	dst = le.AppendUint32(dst, h.Compressors)
	dst = le.AppendUint32(dst, 0)
	dst = append(le.AppendUint16(dst, uint16(len(h.Token))), h.Token...)
	return append(le.AppendUint16(dst, uint16(len(h.Target))), h.Target...)
}

// Append appends the body. A longer text is cut.
func (a *HelloAck) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, a.Version)
	dst = le.AppendUint16(dst, uint16(a.Reason))
	dst = le.AppendUint32(dst, a.MaxFrame)
	for _, v := range [...]uint64{a.MaxMessage, a.Window, uint64(a.Features), a.Codecs} {
		dst = le.AppendUint64(dst, v)
	}
	for _, v := range [...]uint32{a.Compressors, uint32(a.Lease.Milliseconds()), uint32(a.MaxDeadline), a.MaxOpen} {
		dst = le.AppendUint32(dst, v)
	}
	dst = le.AppendUint64(dst, a.Epoch)
	text := cutText(string(a.Text))
	dst = append(le.AppendUint16(dst, uint16(len(text))), text...)
	if a.Machine > 0 {
		dst = le.AppendUint64(dst, uint64(a.Machine))
	}
	return dst
}

// reader takes fields off a body. It remembers that one was cut off.
type reader struct {
	b   []byte
	cut bool
}

var zeros [8]byte

// take returns the next n bytes. After the end it returns zeros, or nothing.
func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.cut, r.b = true, nil
		if n <= len(zeros) {
			return zeros[:n]
		}
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) u16() uint16   { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32   { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64   { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) bytes() []byte { return r.take(int(r.u16())) }

// ParseHello parses the body of HELLO. What follows the fields that this
// version knows is of later versions, and is not looked at.
func ParseHello(body []byte) (Hello, error) {
	r := reader{b: body}
	h := Hello{MinVersion: r.u16(), MaxVersion: r.u16()}
	h.MaxFrame, h.MaxMessage, h.Window = r.u32(), r.u64(), r.u64()
	h.Features, h.Required, h.Codecs, h.Compressors = Features(r.u64()), Features(r.u64()), r.u64(), r.u32()
	r.take(4)
	h.Token, h.Target = r.bytes(), r.bytes()
	switch {
	case r.cut || len(body) > MaxHello:
		return Hello{}, errf(ReasonProtocol, "HELLO has a body of %d bytes, too long or cut off", len(body))
	case h.MinVersion > h.MaxVersion:
		return Hello{}, errf(ReasonProtocol, "HELLO has versions %d to %d", h.MinVersion, h.MaxVersion)
	}
	if err := h.check("HELLO"); err != nil {
		return Hello{}, err
	}
	return h, nil
}

// ParseHelloAck parses the body of HELLO_ACK. Of a refusal, only the version,
// the reason and the text are looked at.
func ParseHelloAck(body []byte) (HelloAck, error) {
	r := reader{b: body}
	a := HelloAck{Version: r.u16(), Reason: Reason(r.u16())}
	a.MaxFrame, a.MaxMessage, a.Window = r.u32(), r.u64(), r.u64()
	a.Features, a.Codecs, a.Compressors = Features(r.u64()), r.u64(), r.u32()
	a.Lease, a.MaxDeadline = time.Duration(r.u32())*time.Millisecond, Deadline(r.u32())
	a.MaxOpen = r.u32()
	a.Epoch = r.u64()
	a.Text = r.bytes()
	if len(r.b) >= 8 {
		a.Machine = time.Duration(r.u64() & (1<<63 - 1))
	}
	if r.cut || len(body) > MaxHello || len(a.Text) > maxText || !utf8.Valid(a.Text) {
		return HelloAck{}, errf(ReasonProtocol, "HELLO_ACK has a body of %d bytes that is cut off, too long or not UTF-8", len(body))
	}
	if a.Reason != ReasonNone {
		return HelloAck{Version: a.Version, Reason: a.Reason, Text: a.Text}, nil
	}
	if err := a.check("HELLO_ACK"); err != nil {
		return HelloAck{}, err
	}
	return a, nil
}

func (l *Limits) check(what string) error {
	if l.MaxFrame < MinMaxFrame || l.MaxFrame > LimitMaxFrame || l.MaxMessage < MinMaxFrame || l.Window < MessageAllowance {
		return errf(ReasonProtocol, "%s has impossible limits: frame %d, message %d, window %d bytes", what, l.MaxFrame, l.MaxMessage, l.Window)
	}
	return nil
}

// Answer is what a server that offers ours answers to a client's hello: the
// version and the abilities that both have, or a refusal.
func Answer(h *Hello, ours HelloAck) HelloAck {
	refuse := func(e *Error) HelloAck {
		return HelloAck{Version: MaxVersion, Reason: e.Reason, Text: []byte(e.Text)}
	}
	switch {
	case h.MinVersion > MaxVersion || h.MaxVersion < MinVersion:
		return refuse(errf(ReasonVersion, "versions %d to %d, want one of %d to %d", h.MinVersion, h.MaxVersion, MinVersion, MaxVersion))
	case h.Required&^ours.Features != 0:
		return refuse(errf(ReasonFeature, "required features %#x are missing", uint64(h.Required&^ours.Features)))
	}
	ours.Version = min(h.MaxVersion, MaxVersion)
	ours.Reason = ReasonNone
	ours.Features &= h.Features
	ours.Codecs &= h.Codecs
	ours.Compressors &= h.Compressors
	return ours
}

// CheckAnswer holds a server's answer against what the client said. A refusal
// fails with the server's reason and text.
func CheckAnswer(h *Hello, a *HelloAck) error {
	switch {
	case a.Reason != ReasonNone:
		return errf(a.Reason, "server refuses the connection: %s", a.Text)
	case a.Version < h.MinVersion || a.Version > h.MaxVersion:
		return errf(ReasonVersion, "server answers with version %d, want %d to %d", a.Version, h.MinVersion, h.MaxVersion)
	case a.Features&^h.Features != 0 || h.Required&^a.Features != 0:
		return errf(ReasonFeature, "server answers with features %#x of %#x, %#x are required", a.Features, h.Features, h.Required)
	}
	return nil
}
