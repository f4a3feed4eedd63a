package server

import "time"

// monotonic is how far the machine's clock is ahead of a core's: CLOCK_MONOTONIC, which
// runs as fast as a core's does, and which all processes of the machine share, but
// counts from another moment. As the two cannot be read at once, it is between bounds.
type monotonic struct{ least, most time.Duration }

// samples is how often the two clocks are read, so that one pair is not torn apart by
// whatever else the processor has to do.
const samples = 8

// compare reads a core's clock and the machine's. It returns false if the machine's cannot
// be read.
func compare(core func() time.Duration, machine func() (time.Duration, bool)) (monotonic, bool) {
	var best monotonic
	for i := range samples {
		before := core()
		m, ok := machine()
		after := core()
		if !ok {
			return monotonic{}, false
		}
		if this := (monotonic{m - after, m - before}); i == 0 || this.most-this.least < best.most-best.least {
			best = this
		}
	}
	return best, true
}

// newClock makes a core's clock, which begins now, and says how far the machine's is ahead; nil: that cannot be read.
func newClock() (now func() time.Duration, ahead *monotonic) {
	start := time.Now()
	now = func() time.Duration { return time.Since(start) + 1 }
	if m, ok := compare(now, machine); ok {
		ahead = &m
	}
	return now, ahead
}

// Machine is the time on the clock that all processes of this machine share, 0 if it is
// not known here.
func Machine() time.Duration {
	t, _ := machine()
	return t
}

// Until is the deadline on the clock that all processes of this machine share
// ([Machine]), or up to microseconds before it. ok is false if there is none, or no such
// clock.
func (j *Job) Until() (at time.Duration, ok bool) {
	m := j.core.machine
	if j.deadline == 0 || m == nil {
		return 0, false
	}
	return j.deadline + m.least, true
}
