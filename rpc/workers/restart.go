package workers

import "time"

const (
	leastPause = 100 * time.Millisecond
	mostPause  = 30 * time.Second
	// loopAfter is how many workers in a row that have served nothing are a crash loop.
	loopAfter = 5
	// goodAfter is how long a worker must live to have been a good one although nobody
	// called it.
	goodAfter = time.Minute
)

// restart says when a position may have its next worker. It is pure.
type restart struct{ failed int }

// ended says how a worker has ended: whether it has served (answered something, or ran
// a call when it ended), and how long it had been ready, 0 if it never was. chance is
// a number from 0 to 1. It returns how long to wait.
func (r *restart) ended(served bool, ready time.Duration, chance float64) time.Duration {
	if served || ready >= goodAfter {
		r.failed = 0
		return 0
	}
	pause := min(leastPause<<min(r.failed, 16), mostPause)
	r.failed++
	return time.Duration(float64(pause) * (0.8 + 0.4*chance))
}

// loops tells whether the position is in a crash loop.
func (r *restart) loops() bool { return r.failed >= loopAfter }
