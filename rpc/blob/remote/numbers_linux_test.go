package remote

import (
	"math/rand/v2"
	"testing"
)

// TestNumbersAreKnownByRuns: in whatever order they come, few of them are kept.
func TestNumbersAreKnownByRuns(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const most = 64
	for range 200 {
		var s numbers
		over := map[uint64]bool{}
		for range most {
			n := random.Uint64N(most)
			if random.IntN(10) > 0 {
				s.add(n)
				over[n] = n > 0
			} else {
				s.raise(n)
				for below := range n {
					over[below+1] = true
				}
			}
			gaps := 0
			for n := range uint64(most + 2) {
				if s.has(n) != over[n] {
					t.Fatalf("%d: %v, want %v, of %+v", n, s.has(n), over[n], s)
				}
				if over[n] && !over[n+1] {
					gaps++
				}
			}
			if len(s.runs) > gaps {
				t.Fatalf("%d runs, %d gaps: %+v", len(s.runs), gaps, s)
			}
		}
	}
}

// TestFewNumbersAreRemembered, whatever a client says.
func TestFewNumbersAreRemembered(t *testing.T) {
	var s numbers
	for n := range uint64(3 * mostRuns) {
		s.add(2 * n) // with others in between
	}
	if len(s.runs) > mostRuns {
		t.Errorf("%d runs", len(s.runs))
	}
	if last := uint64(2 * (3*mostRuns - 1)); !s.has(last) || s.has(last+1) {
		t.Errorf("the last are not known: %+v", s.runs[len(s.runs)-1])
	}
}
