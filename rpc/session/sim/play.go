package sim

import (
	"io"

	"rpcpool.dev/rpc/session"
)

// Result is what came of one schedule.
type Result struct {
	Seed   uint64
	Broken []string // promises, none if all were kept
}

// Play plays the schedule of a seed: the same seed, the same schedule. trace may be
// nil.
func Play(seed uint64, m Mutant, trace io.Writer, cover *Coverage) Result {
	r := newRun(seed, m, trace, cover)
	r.play()
	cover.calls += len(r.truth.calls)
	cover.events += int(r.w.n)
	for _, p := range r.programs {
		add(&cover.client, p.client.Counts)
	}
	for _, s := range r.all {
		c := s.domain.Counts
		cover.domain.Duplicates += c.Duplicates
		cover.domain.Stale += c.Stale
		cover.domain.Expired += c.Expired
		cover.domain.Dropped += c.Dropped
	}
	return Result{seed, r.truth.broken}
}

func add(to *session.ClientCounts, c session.ClientCounts) {
	to.Resends += c.Resends
	to.Moves += c.Moves
	to.Late += c.Late
	to.Lost += c.Lost
}
