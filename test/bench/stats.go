//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// Quantiles are only stated where there are enough values to speak of them.
const minForP999 = 1000

// sample collects the measured values of one figure, in the figure's unit
// (seconds for durations).
type sample struct{ values []float64 }

func (s *sample) add(d time.Duration) { s.values = append(s.values, d.Seconds()) }

func (s *sample) addValue(v float64) { s.values = append(s.values, v) }

// quantile returns the smallest value that at least the share q of all values
// does not exceed (nearest rank): a value that was measured, never one between
// two, and with few values the worse one. NaN without values.
func (s *sample) quantile(q float64) float64 {
	if len(s.values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s.values))
	return nearestRank(sorted, q)
}

func nearestRank(sorted []float64, q float64) float64 {
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// dist summarises a sample.
type dist struct {
	N    int      `json:"n"`
	P50  float64  `json:"p50"`
	P99  float64  `json:"p99"`
	P999 *float64 `json:"p99_9,omitempty"` // nil below 1,000 values: it would be the maximum under another name
	Max  float64  `json:"max"`
}

func (s *sample) dist() dist {
	if len(s.values) == 0 {
		return dist{}
	}
	sorted := slices.Sorted(slices.Values(s.values))
	d := dist{
		N: len(sorted), P50: nearestRank(sorted, 0.50), P99: nearestRank(sorted, 0.99),
		Max: sorted[len(sorted)-1],
	}
	if d.N >= minForP999 {
		v := nearestRank(sorted, 0.999)
		d.P999 = &v
	}
	return d
}

// openLoop calls op n times at a fixed rate, on the schedule and not when the
// last call is done: a call that is late because the one before it was slow
// counts from when it should have begun. Otherwise a stall of a second would
// be one bad value among those that it kept from being measured ("coordinated
// omission"). A call that is late because our own timer was, counts from when
// it began: that delay is not the server's.
type openLoop struct {
	every  time.Duration
	offset time.Duration // of the first call
	n      int
}

// run calls op on schedule, and after each call the function between, whose
// time is not measured (nil: none).
func (l openLoop) run(ctx context.Context, op, between func() error) (*sample, error) {
	s := &sample{values: make([]float64, 0, l.n)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	start := time.Now().Add(l.offset)
	var idle time.Time // when the last call was done
	for i := range l.n {
		due := start.Add(time.Duration(i) * l.every)
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		begin := latencyOrigin(due, idle, time.Now())
		if err := op(); err != nil {
			return nil, fmt.Errorf("call %d of %d: %w", i+1, l.n, err)
		}
		idle = time.Now()
		s.add(idle.Sub(begin))
		if between == nil {
			continue
		}
		if err := between(); err != nil {
			return nil, fmt.Errorf("after call %d of %d: %w", i+1, l.n, err)
		}
	}
	return s, nil
}

// latencyOrigin is when a call that was due at due, and that we make now, began
// as far as its latency is concerned; idle is when we could have made it.
func latencyOrigin(due, idle, now time.Time) time.Time {
	if idle.After(due) {
		return due
	}
	return now
}
