package tune

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"rpcpool.dev/workers/go/matmul"
)

// Phase says how the search came to propose a configuration.
type Phase string

// Phases.
const (
	// PhaseBaseline is the naive configuration, always the first.
	PhaseBaseline Phase = "baseline"
	// PhaseRandom is a configuration drawn blindly.
	PhaseRandom Phase = "random"
	// PhaseEvolved is a child of good configurations.
	PhaseEvolved Phase = "evolved"
)

// How the search evolves. The values are usual ones; results depend little on
// them.
const (
	elite       = 24   // how many of the best can be parents
	tournament  = 3    // contestants per parent
	immigrants  = 0.10 // share of random configurations after the warm-up
	mutation    = 0.25 // probability per gene
	attempts    = 64   // children made before the search takes what it has
	riskHorizon = 2.5  // steps after which a neighbour's fate says 1/e as much
)

// Proposal is a configuration to measure.
type Proposal struct {
	Config matmul.Config
	Phase  Phase
	genome genome
	free   bool // not of the space: the baseline
}

// measured is what became of a proposal.
type measured struct {
	genome  genome
	seconds float64 // +Inf if it failed
}

// Search proposes configurations, random ones first, then children of the best
// so far. It never proposes a configuration twice, and it avoids the
// neighbourhood of failures: a child is dropped with the probability with
// which its measured neighbours failed. It is not safe for concurrent use.
type Search struct {
	space    Space
	warmup   int
	rng      *rand.Rand
	seen     map[genome]bool
	proposed int
	results  []measured
	best     []measured // valid ones, fastest first, at most elite
}

// NewSearch returns a search over space that draws its first warmup proposals at
// random. Equal seeds and equal results, told in equal order, give equal
// proposals.
func NewSearch(space Space, warmup int, seed uint64) *Search {
	return &Search{
		space: space, warmup: warmup, seen: make(map[genome]bool),
		rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), //nolint:gosec // a search must be repeatable, not secret
	}
}

// Next returns the next configuration to measure; false if the space is used
// up. It may be called again before the result of the last one is told.
func (s *Search) Next() (Proposal, bool) {
	s.proposed++
	if s.proposed == 1 {
		return s.baseline(), true
	}
	evolve := s.proposed > s.warmup && len(s.best) >= 2 && s.rng.Float64() >= immigrants
	g, phase, ok := genome{}, PhaseRandom, false
	if evolve {
		g, ok = s.child()
		phase = PhaseEvolved
	}
	if !ok {
		g, ok = s.random()
		phase = PhaseRandom
	}
	if !ok {
		return Proposal{}, false
	}
	s.seen[g] = true
	return Proposal{Config: s.space.config(g), Phase: phase, genome: g}, true
}

// baseline proposes the naive configuration, which need not be in the space.
func (s *Search) baseline() Proposal {
	p := Proposal{Config: matmul.Naive(), Phase: PhaseBaseline, free: true}
	for i := range s.space.Size() {
		if g := s.space.at(i); s.space.config(g) == p.Config {
			s.seen[g] = true
			p.genome, p.free = g, false
			break
		}
	}
	return p
}

// Tell reports a measurement, in seconds.
func (s *Search) Tell(p Proposal, seconds float64) {
	if p.free {
		return
	}
	m := measured{p.genome, seconds}
	s.results = append(s.results, m)
	i, _ := slices.BinarySearchFunc(s.best, m, func(a, b measured) int { return cmp.Compare(a.seconds, b.seconds) })
	s.best = slices.Insert(s.best, i, m)
	s.best = s.best[:min(len(s.best), elite)]
}

// TellFailed reports that the configuration cannot be used: it crashed, took too
// long or computed something else.
func (s *Search) TellFailed(p Proposal) {
	if !p.free {
		s.results = append(s.results, measured{p.genome, math.Inf(1)})
	}
}

// random draws a configuration that was not proposed yet. When draws keep
// hitting old ones it takes the next new one in a fixed order.
func (s *Search) random() (genome, bool) {
	size := s.space.Size()
	start := 0
	for range attempts {
		start = s.rng.IntN(size)
		if g := s.space.at(start); !s.seen[g] {
			return g, true
		}
	}
	for i := range size {
		if g := s.space.at((start + i) % size); !s.seen[g] {
			return g, true
		}
	}
	return genome{}, false
}

// child makes a configuration of two good ones; false if all that it made were
// proposed before. If all of them look bad, it returns the least bad.
func (s *Search) child() (genome, bool) {
	var least genome
	found, leastRisk := false, math.Inf(1)
	for range attempts {
		g := s.mutate(s.cross(s.parent(), s.parent()))
		if s.seen[g] {
			continue
		}
		risk := s.risk(g)
		if s.rng.Float64() >= risk {
			return g, true
		}
		if risk < leastRisk {
			least, leastRisk, found = g, risk, true
		}
	}
	return least, found
}

// parent is the best of a few of the elite. They are sorted, so the least index
// wins.
func (s *Search) parent() genome {
	winner := s.rng.IntN(len(s.best))
	for range tournament - 1 {
		winner = min(winner, s.rng.IntN(len(s.best)))
	}
	return s.best[winner].genome
}

// cross takes every gene from one parent or the other.
func (s *Search) cross(a, b genome) genome {
	for g := range genes {
		if s.rng.IntN(2) == 1 {
			a[g] = b[g]
		}
	}
	return a
}

// mutate changes genes: what is ordered by a step or two, the rest, and now and
// then everything, to any value.
func (s *Search) mutate(c genome) genome {
	for g := range genes {
		if s.rng.Float64() >= mutation {
			continue
		}
		n := s.space.choices(g)
		if ordered(g) && s.rng.Float64() < 0.8 {
			step := 1 + s.rng.IntN(2)
			if s.rng.IntN(2) == 1 {
				step = -step
			}
			c[g] = min(max(c[g]+step, 0), n-1)
		} else {
			c[g] = s.rng.IntN(n)
		}
	}
	return c
}

// risk estimates the probability that g fails: the share of failures among
// what was measured, the nearer the weightier. Where nothing is near it is
// near 0.
func (s *Search) risk(g genome) float64 {
	const unknown = 0.25 // weight of not knowing
	failed, all := 0.0, unknown
	for _, m := range s.results {
		w := math.Exp(-float64(distance(g, m.genome)) / riskHorizon)
		all += w
		if math.IsInf(m.seconds, 1) {
			failed += w
		}
	}
	return failed / all
}
