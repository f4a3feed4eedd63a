package compress

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// ID is a compressor's number on the wire.
type ID uint8

// Compressors.
const (
	S2 ID = iota
	Zstd
	ids
)

// String returns the compressor's name, as in metrics and logs.
func (id ID) String() string {
	switch id {
	case S2:
		return "s2"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("compressor-%d", uint8(id))
}

const (
	// MinLen is the shortest body that is worth a try, in bytes.
	MinLen = 1 << 10
	// DefaultMaxPlain is how long a message may become, in bytes.
	DefaultMaxPlain = 64 << 20
)

// Options of [New].
type Options struct {
	MaxPlain int              // longest message that is decompressed, bytes; 0: DefaultMaxPlain
	Now      func() time.Time // clock that [Compressors.Encode] measures with
}

// Compressors are the compressors of a client or a server. They may be used by
// many goroutines.
type Compressors struct {
	maxPlain int
	now      func() time.Time
	encoder  func() (*zstd.Encoder, error) // a pool of as many encoders as there are CPUs
	decoder  func() (*zstd.Decoder, error)

	plain, packed, took, gave atomic.Uint64
}

// Counts are what was compressed and decompressed, in bytes.
type Counts struct {
	Plain, Packed uint64 // bodies that were sent compressed: before, and after
	Took, Gave    uint64 // bodies that came compressed: as they came, and what they were
}

// Counts returns what was compressed and decompressed since the compressors were made.
func (c *Compressors) Counts() Counts {
	return Counts{Plain: c.plain.Load(), Packed: c.packed.Load(), Took: c.took.Load(), Gave: c.gave.Load()}
}

// New returns compressors. Those that need much memory make it when they are
// first used.
func New(o Options) *Compressors {
	if o.MaxPlain == 0 {
		o.MaxPlain = DefaultMaxPlain
	}
	return &Compressors{
		maxPlain: o.MaxPlain,
		now:      o.Now,
		encoder: sync.OnceValues(func() (*zstd.Encoder, error) {
			return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
		}),
		decoder: sync.OnceValues(func() (*zstd.Decoder, error) {
			return zstd.NewReader(nil, zstd.WithDecoderMaxMemory(uint64(o.MaxPlain)),
				zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderConcurrency(0))
		}),
	}
}

// Mask returns the set of compressors as HELLO says it: bit n is compressor n.
func (c *Compressors) Mask() uint32 { return 1<<ids - 1 }

// Pick returns the compressor to use of a set that both peers have. Over a slow
// link, shorter is better than fast. ok is false if there is none.
func Pick(both uint32, slow bool) (id ID, ok bool) {
	both &= 1<<ids - 1
	if both == 0 {
		return 0, false
	}
	if both&(1<<S2) == 0 || slow && both&(1<<Zstd) != 0 {
		return Zstd, true
	}
	return S2, true
}

// Append appends plain, compressed. shorter is false, and nothing appended, if
// plain is shorter than [MinLen] or would not become shorter.
func (c *Compressors) Append(dst []byte, id ID, plain []byte) (out []byte, shorter bool) {
	if len(plain) < MinLen {
		return dst, false
	}
	switch id {
	case S2:
		out = appendS2(dst, plain)
	case Zstd:
		e, err := c.encoder()
		if err != nil {
			return dst, false
		}
		out = e.EncodeAll(plain, dst)
	}
	if n := len(out) - len(dst); n <= 0 || n >= len(plain) {
		return dst, false
	}
	return out, true
}

func appendS2(dst, plain []byte) []byte {
	n := s2.MaxEncodedLen(len(plain))
	if n < 0 {
		return dst
	}
	dst = slices.Grow(dst, n)
	packed := s2.Encode(dst[len(dst):len(dst)+n], plain)
	return dst[:len(dst)+len(packed)]
}

// Errors of [Compressors.Decode].
var (
	ErrTooLong = errors.New("plain length is over the limit")
	ErrLength  = errors.New("plain length is not the one declared")
	ErrCorrupt = errors.New("body is damaged")
)

// Decode appends what body is when decompressed: exactly plainLen bytes, as the
// message has declared. What can be seen to be false before there is room for it
// gets none. After an error, dst is returned as it came.
func (c *Compressors) Decode(dst []byte, id ID, body []byte, plainLen uint64) ([]byte, error) {
	if plainLen > uint64(c.maxPlain) {
		return dst, fmt.Errorf("%v: %w: %d bytes of at most %d", id, ErrTooLong, plainLen, c.maxPlain)
	}
	var out []byte
	var err error
	switch n := int(plainLen); id {
	case S2:
		out, err = decodeS2(dst, body, n)
	case Zstd:
		out, err = c.decodeZstd(dst, body, n)
	default:
		return dst, fmt.Errorf("%v is not known", id)
	}
	if err != nil {
		return dst, fmt.Errorf("%v: %w", id, err)
	}
	c.took.Add(uint64(len(body)))
	c.gave.Add(plainLen)
	return out, nil
}

func decodeS2(dst, body []byte, n int) ([]byte, error) {
	switch has, err := s2.DecodedLen(body); {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	case has != n:
		return nil, fmt.Errorf("%w: %d bytes, not %d", ErrLength, has, n)
	}
	dst = slices.Grow(dst, n)
	if _, err := s2.Decode(dst[len(dst):len(dst)+n], body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return dst[:len(dst)+n], nil
}

func (c *Compressors) decodeZstd(dst, body []byte, n int) ([]byte, error) {
	if err := checkFrame(body, n); err != nil {
		return nil, err
	}
	d, err := c.decoder()
	if err != nil {
		return nil, err
	}
	dst = slices.Grow(dst, n)
	out, err := d.DecodeAll(body, dst[:len(dst):len(dst)+n])
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	case len(out) != len(dst)+n:
		return nil, fmt.Errorf("%w: %d bytes, not %d", ErrLength, len(out)-len(dst), n)
	}
	return out, nil
}
