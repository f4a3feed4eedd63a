package sim

import (
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds   = flag.Uint64("seeds", 0, "how many schedules to play; 0: as many as fit a test")
	first   = flag.Uint64("first", 1, "the first of them")
	seed    = flag.Uint64("seed", 0, "play this one alone, with a trace")
	storm   = flag.Duration("storm", stormy, "with -seed: for so long there are faults")
	without = flag.String("without", "", "with -seed: faults to leave out, separated by commas")
)

// many is how many schedules a test plays.
func many(most uint64) uint64 {
	switch {
	case *seeds != 0:
		return *seeds
	case testing.Short() || raced:
		return most / 50
	}
	return most
}

func TestSchedules(t *testing.T) {
	if *seed != 0 {
		s, err := Schedule{Seed: *seed, Storm: *storm}.ParseWithout(*without)
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range Play(s, Mutant{}, os.Stdout, new(Coverage)).Broken {
			t.Errorf("%s: %s", s, what)
		}
		return
	}
	began := time.Now()
	n := many(100_000)
	broken, cover := playAll(*first, n)
	for _, r := range broken {
		narrow := Narrow(r.Schedule, func(s Schedule) bool {
			return len(Play(s, Mutant{}, nil, new(Coverage)).Broken) > 0
		})
		t.Errorf("seed %d: %s\n\tplay it again with %s", r.Schedule.Seed, strings.Join(r.Broken, "; "), narrow)
	}
	t.Logf("%d schedules in %s\n%s", n, time.Since(began).Round(time.Millisecond), cover)
	if len(broken) == 0 && n >= 20_000 {
		for _, what := range cover.Missing(n) {
			t.Errorf("%s", what)
		}
	}
}

// skipRaced leaves a test out that plays many schedules one after the other.
func skipRaced(t *testing.T) {
	t.Helper()
	if raced {
		t.Skip("too slow with the race detector, which has nothing to find here")
	}
}

// playAll plays schedules on all cores. It stops after some that are broken.
func playAll(first, n uint64) ([]Result, *Coverage) {
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		next   atomic.Uint64
		broken []Result
		sum    Coverage
	)
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // much is thrown away, little is kept
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			var cover Coverage
			for i := next.Add(1) - 1; i < n; i = next.Add(1) - 1 {
				r := Play(Schedule{Seed: first + i}, Mutant{}, nil, &cover)
				if len(r.Broken) == 0 {
					continue
				}
				mu.Lock()
				broken = append(broken, r)
				if len(broken) >= 5 {
					next.Store(n)
				}
				mu.Unlock()
			}
			mu.Lock()
			sum.Add(&cover)
			mu.Unlock()
		})
	}
	wg.Wait()
	return broken, &sum
}

// mutantSeeds is within how many schedules a mutant must be found.
const mutantSeeds = 20_000

func TestMutants(t *testing.T) {
	skipRaced(t)
	for _, m := range Mutants() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			for s := uint64(1); s <= mutantSeeds; s++ {
				for _, what := range Play(Schedule{Seed: s}, m, nil, new(Coverage)).Broken {
					if strings.Contains(what, m.Breaks) {
						t.Logf("seed %d: %s", s, what)
						return
					}
				}
			}
			t.Errorf("nothing is seen of it in %d schedules", mutantSeeds)
		})
	}
}

// A schedule that is broken must be the same when it is played again.
func TestScheduleReplays(t *testing.T) {
	for s := uint64(1); s <= 20; s++ {
		var one, other strings.Builder
		Play(Schedule{Seed: s}, Mutant{}, &one, new(Coverage))
		Play(Schedule{Seed: s}, Mutant{}, &other, new(Coverage))
		if one.String() != other.String() {
			t.Fatalf("seed %d: two traces", s)
		}
	}
}

// What Narrow returns is broken, and no larger than what it was given.
func TestNarrow(t *testing.T) {
	m := Mutants()[0]
	broken := func(s Schedule) bool { return len(Play(s, m, nil, new(Coverage)).Broken) > 0 }
	s := Schedule{Seed: 1, Storm: stormy}
	for !broken(s) {
		s.Seed++
	}
	narrow := Narrow(s, broken)
	t.Logf("%s", narrow)
	if !broken(narrow) || narrow.Without == 0 || narrow.Storm >= s.Storm {
		t.Errorf("%s of %s", narrow, s)
	}
	again, err := Schedule{Seed: narrow.Seed, Storm: narrow.Storm}.ParseWithout(listOf(narrow))
	if err != nil || again != narrow {
		t.Errorf("%v, %v", again, err)
	}
}

// listOf is the list of faults in a schedule's flags.
func listOf(s Schedule) string {
	_, list, _ := strings.Cut(s.String(), "-without ")
	return list
}
