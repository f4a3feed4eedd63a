package matmul

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"
)

// Bounds of a measurement: the median of fewer repeats means little, more cost
// time and tell nothing new.
const (
	minRepeats = 3
	maxRepeats = 1000
	maxSeconds = 60
)

// Result is a measurement.
type Result struct {
	// Seconds is the median time of one product, in seconds of the kernel
	// thread's processor time: servers that share the machine's cores do not
	// disturb each other's figures much.
	Seconds float64 `json:"seconds"`
	// Repeats is how many timed products the median is of.
	Repeats int `json:"repeats"`
	// Checksum is that of the product; see [Checksum].
	Checksum float64 `json:"checksum"`
}

// Run computes c = a·b (n×n, dense) by cfg: once to warm up, then until
// minSeconds have passed, at least three times. It returns an error for a
// configuration that no device could run. One whose packed tiles do not fit the
// scratchpad ends the process.
func Run(cfg Config, n int, a, b, c []float32, minSeconds float64) (Result, error) {
	if err := check(cfg, n, a, b, c, minSeconds); err != nil {
		return Result{}, err
	}
	pad, err := newScratchpad()
	if err != nil {
		return Result{}, err
	}
	r := newBlocked(cfg, c, a, b, n, pad)
	var times []float64
	var timing error
	err = withDefaultFault(func() { times, timing = repeat(r.run, minSeconds) })
	if err := errors.Join(err, timing, pad.close()); err != nil {
		return Result{}, err
	}
	return Result{Seconds: median(times), Repeats: len(times), Checksum: Checksum(c, n)}, nil
}

func check(cfg Config, n int, a, b, c []float32, minSeconds float64) error {
	if n < 1 || n > MaxN {
		return errSize(n)
	}
	if len(a) != n*n || len(b) != n*n || len(c) != n*n {
		return fmt.Errorf("operands have %d, %d and %d elements: want %d each", len(a), len(b), len(c), n*n)
	}
	if math.IsNaN(minSeconds) || minSeconds < 0 || minSeconds > maxSeconds {
		return fmt.Errorf("minimum time of %v s: want 0..%d", minSeconds, maxSeconds)
	}
	return cfg.Validate()
}

func errSize(n int) error { return fmt.Errorf("problem size %d: want 1..%d", n, MaxN) }

// repeat runs f once and then measures it until minSeconds have been spent.
func repeat(f func(), minSeconds float64) ([]float64, error) {
	runtime.LockOSThread() // the clock is the thread's
	defer runtime.UnlockOSThread()
	f()
	var times []float64
	for total := 0.0; len(times) < minRepeats || (total < minSeconds && len(times) < maxRepeats); {
		start, err := threadTime()
		if err != nil {
			return nil, fmt.Errorf("read the thread's clock: %w", err)
		}
		f()
		end, err := threadTime()
		if err != nil {
			return nil, fmt.Errorf("read the thread's clock: %w", err)
		}
		t := max(end-start, time.Nanosecond).Seconds() // no clock is so fine that nothing takes no time
		times = append(times, t)
		total += t
	}
	return times, nil
}

// median sorts its argument.
func median(times []float64) float64 {
	slices.Sort(times)
	m := len(times) / 2
	if len(times)%2 == 1 {
		return times[m]
	}
	return (times[m-1] + times[m]) / 2
}
