package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	seeds   = flag.Uint64("seeds", 0, "how many schedules to play; 0: as many as fit a test")
	first   = flag.Uint64("first", 1, "the first of them")
	seed    = flag.Uint64("seed", 0, "play this one alone, with a trace")
	storm   = flag.Duration("storm", stormy, "with -seed: for so long there are faults")
	without = flag.String("without", "", "with -seed: faults to leave out, separated by commas")
	keep    = flag.String("keep", "", "a directory for traces of schedules that are broken")
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
	b := batch{first: *first, n: many(100_000), log: os.Stderr, keep: *keep}
	if *seeds != 0 {
		b.stores = storeSeeds
		defer b.report(10 * time.Second)()
	}
	b.play()
	for _, r := range b.broken {
		t.Error(tell(r))
	}
	for _, what := range b.stale {
		t.Error(what)
	}
	t.Logf("%d schedules in %s, from seed %d, %d also with a key-value store\n%s",
		b.done.Load(), time.Since(began).Round(time.Millisecond), b.first, b.histories, &b.cover)
	if len(b.broken) == 0 && b.n >= 20_000 {
		for _, what := range b.cover.Missing(b.n) {
			t.Errorf("%s", what)
		}
	}
}

// storeSeeds is one in how many seeds `make sim` also plays with a key-value store.
const storeSeeds = 1000

// A batch also plays some of its schedules with a key-value store, and tells of a history that
// cannot be.
func TestABatchChecksHistoriesOfStores(t *testing.T) {
	skipRaced(t)
	var log strings.Builder
	b := batch{first: 1, n: 400, log: &log, stores: 100}
	b.play()
	if b.histories != 4 || len(b.stale) != 0 {
		t.Errorf("%d histories, %q", b.histories, b.stale)
	}
	b = batch{first: 1, n: 1000, mutant: journalMutants()[0], log: &log, stores: 1}
	for seed := b.first; len(b.stale) == 0 && seed < b.first+b.n; seed++ {
		b.store(seed)
	}
	if len(b.stale) != 1 || !strings.Contains(log.String(), b.stale[0]) {
		t.Errorf("%q are told as\n%s", b.stale, &log)
	}
}

// skipRaced leaves a test out that plays many schedules one after the other.
func skipRaced(t *testing.T) {
	t.Helper()
	if raced {
		t.Skip("too slow with the race detector, which has nothing to find here")
	}
}

// mutantSeeds is within how many schedules a mutant must be found.
const mutantSeeds = 100_000

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

// What is broken is told at once, and its trace says how.
func TestWhatIsBrokenIsKept(t *testing.T) {
	var log strings.Builder
	b := batch{first: 1, n: 1000, mutant: Mutants()[0], log: &log, keep: t.TempDir()}
	b.play()
	if len(b.broken) < enough || b.done.Load() == b.n {
		t.Fatalf("%d are broken of %d", len(b.broken), b.done.Load())
	}
	for _, r := range b.broken {
		trace, err := os.ReadFile(filepath.Join(b.keep, fmt.Sprintf("seed-%d.txt", r.Schedule.Seed)))
		if err != nil || !strings.Contains(string(trace), "BROKEN") || !strings.Contains(log.String(), r.Schedule.String()) {
			t.Errorf("%s: %v; log %s; trace %s", r.Schedule, err, &log, trace)
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
