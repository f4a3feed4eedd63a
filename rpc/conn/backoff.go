package conn

import (
	"math/rand/v2"
	"time"
)

// Backoff is how long a server that failed is left alone.
type Backoff struct {
	First time.Duration // after the first failure. Default 100 ms
	Most  time.Duration // the pause doubles up to this. Default 10 s
}

// jitter is the share of a pause that is random, in both directions.
const jitter = 0.2

// pause returns how long to wait after so many failures in a row, at least 1.
// random is within [0, 1).
func (b Backoff) pause(failures int, random float64) time.Duration {
	d := b.Most
	if shift := failures - 1; shift < 62 && b.First <= b.Most>>shift {
		d = b.First << shift
	}
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*random))
}

func random() float64 {
	return rand.Float64() //nolint:gosec // spreads load, hides nothing
}
