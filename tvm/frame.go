package tvm

import (
	"encoding/binary"
	"fmt"
)

// TrackerMagic is the first thing on a tracker connection, from both sides.
const TrackerMagic int32 = 0x2F271

// MaxFrame is the largest payload, in bytes, that a tracker takes from a peer.
// Replies may be longer.
const MaxFrame = 1 << 20

// FrameHeader is the length of a frame's header, in bytes.
const FrameHeader = 4

// AppendTrackerMagic appends the 4 bytes of [TrackerMagic].
func AppendTrackerMagic(dst []byte) []byte {
	return appendI32(dst, TrackerMagic)
}

// CheckTrackerMagic fails with [ErrBadMagic] if b is not [TrackerMagic].
func CheckTrackerMagic(b [4]byte) error {
	if got := readI32(b[:]); got != TrackerMagic {
		return fmt.Errorf("%w: %#x is not the tracker's %#x", ErrBadMagic, uint32(got), TrackerMagic)
	}
	return nil
}

// AppendFrame appends one frame: the payload's length as i32, then the payload.
// A payload must be shorter than 2 GiB.
func AppendFrame(dst, payload []byte) []byte {
	dst = appendI32(dst, int32(len(payload)))
	return append(dst, payload...)
}

// AppendMessage appends a message as one frame, without a copy in between.
func AppendMessage(dst []byte, m Message) []byte {
	start := len(dst)
	return EndFrame(m.AppendPayload(BeginFrame(dst)), start)
}

// BeginFrame appends room for a frame's header; the payload is to be appended
// next, and then [EndFrame] called with the length that dst had before.
func BeginFrame(dst []byte) []byte {
	return append(dst, 0, 0, 0, 0)
}

// EndFrame fills in the header of the frame that [BeginFrame] began at
// dst[start] and that ends where dst ends.
func EndFrame(dst []byte, start int) []byte {
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-FrameHeader))
	return dst
}

// FrameLen returns the length in bytes of the payload that follows a frame's
// header. It fails with [ErrFrameLength] unless that is within 1..[MaxFrame]:
// after such a header the stream cannot be trusted and is to be closed.
func FrameLen(header [4]byte) (int, error) {
	n := readI32(header[:])
	if n < 1 || n > MaxFrame {
		return 0, fmt.Errorf("%w: %d is not within 1..%d", ErrFrameLength, n, MaxFrame)
	}
	return int(n), nil
}

func appendI32(dst []byte, v int32) []byte {
	return binary.LittleEndian.AppendUint32(dst, uint32(v))
}

func appendU64(dst []byte, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(dst, v)
}

func readI32(b []byte) int32 {
	return int32(binary.LittleEndian.Uint32(b))
}
