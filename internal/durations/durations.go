// Package durations counts how long things took, in a few instructions and without a lock of
// its own, for who has to do it for every call: a histogram whose bounds double.
//
//	≤ 16 µs   ≤ 32 µs   ≤ 64 µs   …   ≤ 33.6 s   longer
//
// It keeps no state but the counts that its owner has.
package durations

import (
	"math/bits"
	"time"
)

const (
	// Bounds is how many upper bounds there are.
	Bounds = 22
	// First is the first bound. Each of the others is twice the one before it.
	First = 16 * time.Microsecond
)

// Histogram is what was counted. The zero value is ready; it is not safe for concurrent use.
type Histogram struct {
	Counts [Bounds + 1]uint64 // by the least bound that is not less; the last: longer than all
	Sum    time.Duration
}

// Place is the index in Counts of a duration.
func Place(d time.Duration) int {
	return min(bits.Len64(uint64(max(d-1, 0)/First)), Bounds)
}

// Add counts one.
func (h *Histogram) Add(d time.Duration) {
	h.Counts[Place(d)]++
	h.Sum += d
}

// Cumulative returns how many there are, and how many of them are not longer than each bound,
// in seconds, as Prometheus has it.
func (h *Histogram) Cumulative() (count uint64, upTo map[float64]uint64) {
	upTo = make(map[float64]uint64, Bounds)
	for i, n := range h.Counts {
		count += n
		if i < Bounds {
			upTo[(First << i).Seconds()] = count
		}
	}
	return count, upTo
}
