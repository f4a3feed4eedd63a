package tune

import (
	"math"

	"rpcpool.dev/workers/go/matmul"
)

// modelTime is a made-up device's time for a configuration, in seconds: smooth,
// with one valley at 32×64×64 ikj unroll 4 packed, and a floor of 1 ms there.
func modelTime(c matmul.Config) float64 {
	off := func(size, best int) float64 { return math.Abs(math.Log2(float64(size) / float64(best))) }
	t := 0.001 * (1 + 0.4*off(c.TileM, 32) + 0.4*off(c.TileN, 64) + 0.4*off(c.TileK, 64) + 0.6*off(c.Unroll, 4))
	switch c.Order {
	case "ikj":
	case "ijk", "kij":
		t *= 1.5
	default:
		t *= 3
	}
	if !c.Pack {
		t *= 1.4
	}
	return t
}

// modelOutcome is how that device takes a configuration: packed tiles that do
// not fit its scratchpad crash it, and what has tiny tiles takes for ever.
func modelOutcome(c matmul.Config) Outcome {
	switch {
	case c.Pack && 4*c.TileK*(c.TileM+c.TileN) > matmul.ScratchpadBytes:
		return OutcomeCrash
	case c.TileM*c.TileN*c.TileK < 16:
		return OutcomeTimeout
	default:
		return OutcomeOK
	}
}

// play lets s search on the model for n trials, one at a time.
func play(s *Search, n int) (proposals []Proposal, best float64, failed int) {
	best = math.Inf(1)
	for range n {
		p, ok := s.Next()
		if !ok {
			break
		}
		proposals = append(proposals, p)
		if modelOutcome(p.Config) != OutcomeOK {
			failed++
			s.TellFailed(p)
			continue
		}
		t := modelTime(p.Config)
		best = min(best, t)
		s.Tell(p, t)
	}
	return proposals, best, failed
}
