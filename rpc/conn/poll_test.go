package conn

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestAReaderLooksOnlyWhereThatIsSooner: whatever it does at first, and also when it
// changes.
func TestAReaderLooksOnlyWhereThatIsSooner(t *testing.T) {
	const us = time.Microsecond
	for name, c := range map[string]struct {
		sleeps, looks time.Duration // how long a message takes to come
		want          bool
	}{
		"the peer answers before a sleeper is awake": {sleeps: 45 * us, looks: 15 * us, want: true},
		"being woken costs a fifth":                  {sleeps: 60 * us, looks: 48 * us, want: true},
		"who looks is in the peer's way":             {sleeps: 50 * us, looks: 120 * us},
		"messages take long":                         {sleeps: 900 * us, looks: 900 * us},
		"it is all the same":                         {sleeps: 40 * us, looks: 39 * us},
	} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			var p poll
			for range 3 { // it may start with the other habit, the second time
				other := 0
				for range 20_000 {
					took := c.sleeps
					if p.looks != p.trial {
						took = c.looks
					}
					if p.looks != c.want {
						other++
					}
					p.took(took + time.Duration(r.Int64N(int64(took/20)+1)) - took/40)
				}
				if p.looks != c.want || other > 3*pollStayMax {
					t.Fatalf("looks: %t, and was wrong for %d of 20,000 waits", p.looks, other)
				}
				p.looks = !p.looks
			}
		})
	}
}

// TestWhatLookingCostsAtMost: of a reader whose messages come late, the share of the waits
// in which it looks falls to less than one in a hundred.
func TestWhatLookingCostsAtMost(t *testing.T) {
	var p poll
	share := func(waits int) float64 {
		looked := 0
		for range waits {
			if p.looks != p.trial {
				looked++
			}
			p.took(time.Millisecond)
		}
		return float64(looked) / float64(waits)
	}
	early, late := share(pollStay+pollTrial), share(20*pollStayMax)
	if early > 0.21 || late > 0.01 {
		t.Errorf("looked in %.3f of the first waits, and in %.3f of those after", early, late)
	}
	if p.looks {
		t.Error(fmt.Sprint("looks for what comes once in a millisecond: ", p))
	}
}
