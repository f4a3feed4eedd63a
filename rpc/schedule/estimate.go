package schedule

import (
	"slices"
	"time"
)

const (
	firsts  = 8  // samples that are kept until something is said
	gain    = 16 // a sample counts for one in so many
	outlier = 8  // a sample counts for at most so many times the mean
)

// estimator is a moving average that starts with the median of the first samples: those of
// a method that warms up, or compiles, say little of the next. What takes far longer than
// others counts as an outlier, and so the mean of very uneven calls is
// taken for less than it is; if it is the new rule, the mean follows soon.
type estimator struct {
	first [firsts]time.Duration
	n     int
	mean  time.Duration
}

// NewEstimator returns a moving average over about 16 calls, which says nothing
// before there were eight.
func NewEstimator() Estimator { return new(estimator) }

// Add implements [Estimator].
func (e *estimator) Add(took time.Duration) {
	took = max(took, 1)
	if e.n < firsts {
		e.first[e.n] = took
		if e.n++; e.n == firsts {
			slices.Sort(e.first[:])
			e.mean = e.first[(firsts-1)/2]
		}
		return
	}
	e.mean += (min(took, outlier*e.mean) - e.mean) / gain
	e.mean = max(e.mean, 1)
}

// Mean implements [Estimator].
func (e *estimator) Mean() time.Duration { return e.mean }
