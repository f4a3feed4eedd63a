package sim

import (
	"flag"
	"os"
	"testing"
)

var (
	seeds = flag.Uint64("seeds", 2000, "how many schedules to play")
	seed  = flag.Uint64("seed", 0, "play this one alone, with a trace")
)

func TestSchedules(t *testing.T) {
	var cover Coverage
	if *seed != 0 {
		for _, what := range Play(*seed, Mutant{}, os.Stdout, &cover).Broken {
			t.Errorf("seed %d: %s", *seed, what)
		}
		return
	}
	bad := 0
	for s := uint64(1); s <= *seeds; s++ {
		if r := Play(s, Mutant{}, nil, &cover); len(r.Broken) > 0 {
			t.Errorf("seed %d: %s", s, r.Broken)
			if bad++; bad > 5 {
				break
			}
		}
	}
	t.Logf("%+v", cover)
}

func TestMutants(t *testing.T) {
	for _, m := range Mutants() {
		t.Run(m.Name, func(t *testing.T) {
			var cover Coverage
			said := map[string]int{}
			for s := uint64(1); s <= 5000; s++ {
				for _, what := range Play(s, m, nil, &cover).Broken {
					said[what]++
					t.Logf("seed %d: %s", s, what)
				}
				if len(said) > 0 {
					return
				}
			}
			t.Errorf("not found")
		})
	}
}
