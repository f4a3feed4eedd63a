package tune

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"rpcpool.dev/workers/go/matmul"
)

var ignoreGenome = cmpopts.IgnoreUnexported(Proposal{})

func TestSpaceIsEveryCombinationOnce(t *testing.T) {
	for _, n := range []int{1, 5, 64} {
		s := NewSpace(n)
		seen := map[matmul.Config]bool{}
		for i := range s.Size() {
			cfg := s.config(s.at(i))
			if err := cfg.Validate(); err != nil {
				t.Fatalf("n=%d: %v", n, err)
			}
			if max(cfg.TileM, cfg.TileN, cfg.TileK) > n {
				t.Fatalf("n=%d: %v has a tile that only repeats a smaller one", n, cfg)
			}
			seen[cfg] = true
		}
		if len(seen) != s.Size() {
			t.Errorf("n=%d: %d configurations, %d of them different", n, s.Size(), len(seen))
		}
	}
}

func TestSearchBeginsWithTheBaseline(t *testing.T) {
	s := NewSearch(NewSpace(384), 10, 1)
	p, ok := s.Next()
	if !ok || p.Phase != PhaseBaseline || p.Config != matmul.Naive() {
		t.Errorf("first proposal is %+v, want the naive configuration", p)
	}
	for range 9 {
		if p, _ := s.Next(); p.Phase != PhaseRandom {
			t.Errorf("%+v during the warm-up, want a random one", p)
		}
	}
}

// Whatever the results are and however late they come, no configuration is
// proposed twice, and every one is of the space.
func TestSearchNeverRepeatsItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{1, 2, 8, 384}).Draw(t, "n")
		space := NewSpace(n)
		s := NewSearch(space, rapid.IntRange(0, 40).Draw(t, "warm-up"), rapid.Uint64().Draw(t, "seed"))
		seen := map[matmul.Config]bool{}
		var outstanding []Proposal
		for range rapid.IntRange(1, 120).Draw(t, "proposals") {
			p, ok := s.Next()
			if !ok {
				if len(seen) < space.Size() {
					t.Fatalf("gave up after %d of %d configurations", len(seen), space.Size())
				}
				break
			}
			if seen[p.Config] {
				t.Fatalf("%v proposed twice", p.Config)
			}
			seen[p.Config] = true
			outstanding = append(outstanding, p)
			for len(outstanding) > 0 && rapid.Bool().Draw(t, "a result comes") {
				i := rapid.IntRange(0, len(outstanding)-1).Draw(t, "whose")
				if rapid.Bool().Draw(t, "it failed") {
					s.TellFailed(outstanding[i])
				} else {
					s.Tell(outstanding[i], rapid.Float64Range(1e-6, 10).Draw(t, "seconds"))
				}
				outstanding = slices.Delete(outstanding, i, i+1)
			}
		}
	})
}

func TestSearchUsesUpASmallSpace(t *testing.T) {
	space := NewSpace(1) // 1 tile size: 6 orders × 4 factors × packed or not
	s := NewSearch(space, 10, 3)
	proposals, _, _ := play(s, 1000)
	if want := space.Size() + 1; len(proposals) != want { // and the baseline, which is not of it
		t.Errorf("%d proposals, want %d", len(proposals), want)
	}
}

func TestEqualSeedsSearchAlike(t *testing.T) {
	a, _, _ := play(NewSearch(NewSpace(384), 30, 7), 200)
	b, _, _ := play(NewSearch(NewSpace(384), 30, 7), 200)
	if d := cmp.Diff(a, b, ignoreGenome); d != "" {
		t.Errorf("same seed, different search:\n%s", d)
	}
	c, _, _ := play(NewSearch(NewSpace(384), 30, 8), 200)
	if cmp.Equal(a, c, ignoreGenome) {
		t.Error("different seeds, same search")
	}
}

// Evolution must beat blind search by a clear margin and run into fewer
// failures, or it is not worth its code. The seeds are fixed: this is no dice game.
func TestEvolutionBeatsBlindSearch(t *testing.T) {
	const trials, seeds = 200, 20
	wins, failedEvolved, failedRandom := 0, 0, 0
	for seed := range uint64(seeds) {
		_, evolved, f := play(NewSearch(NewSpace(384), 50, seed), trials)
		failedEvolved += f
		_, random, f := play(NewSearch(NewSpace(384), trials, seed), trials)
		failedRandom += f
		if evolved < random {
			wins++
		}
		if evolved > 1.5*0.001 {
			t.Errorf("seed %d: best time %g s after %d trials, the optimum is 1 ms", seed, evolved, trials)
		}
	}
	t.Logf("evolution won %d of %d; failures: evolved %d, random %d", wins, seeds, failedEvolved, failedRandom)
	if wins < seeds*9/10 {
		t.Errorf("evolution won %d of %d", wins, seeds)
	}
	if failedEvolved*10 > failedRandom*9 {
		t.Errorf("evolution failed %d times, blind search %d: nothing was learned from failures", failedEvolved, failedRandom)
	}
}

func TestRiskFollowsTheNeighbours(t *testing.T) {
	s := NewSearch(NewSpace(384), 0, 1)
	at := func(tile int) genome { return genome{tile, 5, 5, 1, 1, 1} }
	if r := s.risk(at(5)); r != 0 {
		t.Errorf("risk %g before anything was measured, want 0", r)
	}
	s.TellFailed(Proposal{genome: at(10)})
	s.Tell(Proposal{genome: at(2)}, 1)
	near, middle, far := s.risk(at(9)), s.risk(at(6)), s.risk(at(1))
	if !(near > middle && middle > far) || near < 0.5 || far > 0.2 {
		t.Errorf("risks %.2f beside a failure, %.2f half way, %.2f beside a success", near, middle, far)
	}
}
