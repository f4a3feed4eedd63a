package blob

import (
	"testing"

	"pgregory.net/rapid"
)

func TestClassesCoverAllSizesAndWasteLittle(t *testing.T) {
	for pages := uint64(1); pages < 1<<18; pages++ {
		c := ceilClass(pages)
		have := classPages(c)
		if have < pages || c > 0 && classPages(c-1) >= pages {
			t.Fatalf("%d pages are of class %d with %d", pages, c, have)
		}
		if floorClass(have) != c || classPages(floorClass(pages)) > pages {
			t.Fatalf("class %d with %d pages is %d", c, have, floorClass(have))
		}
		if (have-pages)*5 >= have {
			t.Fatalf("class of %d pages wastes %d of %d", pages, have-pages, have)
		}
	}
	for size, want := range map[uint64]uint64{0: 1, 1: 1, 4096: 1, 4097: 2, 65536: 16, 65537: 20, 1 << 40: 1 << 28} {
		if got := pagesFor(size); got != want {
			t.Errorf("%d bytes take %d pages, want %d", size, got, want)
		}
	}
}

// TestRunsAgainstABitmap plays allocations and frees against a list of the pages that
// are taken: no page is given twice; an allocation fails only if no run is long enough;
// what is free together is one run.
func TestRunsAgainstABitmap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pages := rapid.Uint64Range(1, 300).Draw(t, "pages")
		r, taken := newRuns(pages), make([]bool, pages)
		live := map[int]uint64{}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				n := classPages(ceilClass(rapid.Uint64Range(1, 40).Draw(t, "n")))
				first, ok := r.take(n)
				if longest := longestRun(taken); ok != (longest >= n) {
					t.Fatalf("%d pages: %v, the longest free run has %d", n, ok, longest)
				}
				if ok {
					fill(t, taken, first, n, true)
					live[first] = n
				}
			},
			"give": func(t *rapid.T) {
				if len(live) == 0 {
					t.Skip()
				}
				first := rapid.SampledFrom(sortedKeys(live)).Draw(t, "first")
				r.give(first)
				fill(t, taken, first, live[first], false)
				delete(live, first)
			},
			"": func(t *rapid.T) {
				sum := uint64(0)
				for _, n := range live {
					sum += n
				}
				if r.taken != sum {
					t.Fatalf("%d pages are taken, counted %d", sum, r.taken)
				}
			},
		})
		for first := range live {
			r.give(first)
		}
		if r.at[0].pages != uint32(pages) || !r.at[0].free || r.taken != 0 {
			t.Fatalf("all is free, in a first run of %d pages of %d", r.at[0].pages, pages)
		}
	})
}

func fill(t *rapid.T, taken []bool, first int, n uint64, to bool) {
	for i := range taken[first : first+int(n)] {
		if taken[first+i] == to {
			t.Fatalf("page %d is given twice", first+i)
		}
		taken[first+i] = to
	}
}

func longestRun(taken []bool) (longest uint64) {
	run := uint64(0)
	for _, t := range taken {
		if run++; t {
			run = 0
		}
		longest = max(longest, run)
	}
	return longest
}
