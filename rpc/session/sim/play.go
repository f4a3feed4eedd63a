package sim

import "io"

// Result is what came of one schedule.
type Result struct {
	Schedule Schedule
	Broken   []string // promises, none if all were kept
}

// Play plays a schedule, or a mutant of it. trace may be nil.
func Play(s Schedule, m Mutant, trace io.Writer, cover *Coverage) Result {
	if s.Storm == 0 {
		s.Storm = stormy
	}
	r := newRun(s, m, trace, cover)
	r.play()
	cover.counts(r)
	return Result{s, r.truth.broken}
}
