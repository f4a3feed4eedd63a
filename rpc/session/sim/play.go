package sim

import "io"

// Result is what came of one schedule.
type Result struct {
	Schedule Schedule
	Broken   []string // promises, none if all were kept
}

// Play plays a schedule, or a mutant of it. trace may be nil.
func Play(s Schedule, m Mutant, trace io.Writer, cover *Coverage) Result {
	r := newRun(s, m, echo{}, trace, cover)
	r.play()
	cover.counts(r)
	return Result{r.w.schedule, r.truth.broken}
}
