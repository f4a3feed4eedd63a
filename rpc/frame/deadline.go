package frame

import (
	"math/bits"
	"time"
)

// Deadline is the time that is left, relative to the moment in which the frame
// was made, as a small floating-point number: the low 27 bits, shifted left by
// the high 5, are microseconds. 0 is no deadline.
type Deadline uint32

const mantissaBits = 27

// DeadlineOf encodes the time that is left: exactly below 134 s, and then to
// less than a ten-millionth, never more than d. Less than a microsecond becomes
// one: whoever has no time left at all should not send.
func DeadlineOf(d time.Duration) Deadline {
	us := uint64(max(d.Microseconds(), 1))
	shift := max(bits.Len64(us)-mantissaBits, 0)
	return Deadline(us>>shift) | Deadline(shift)<<mantissaBits
}

// Duration returns the time that is left, and false if there is no deadline.
// What a time.Duration cannot hold becomes the longest that it can.
func (d Deadline) Duration() (time.Duration, bool) {
	if d == 0 {
		return 0, false
	}
	const most = uint64(1<<63-1) / uint64(time.Microsecond)
	us := uint64(d&(1<<mantissaBits-1)) << (d >> mantissaBits)
	return time.Duration(min(us, most)) * time.Microsecond, true
}
