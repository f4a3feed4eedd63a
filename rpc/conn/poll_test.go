package conn

import (
	"math/rand/v2"
	"testing"
	"time"
)

// waits plays so many waits of a reader whose messages come after the one time if it sleeps, and
// after the other if it looks. It returns in how many it has looked.
func waits(p *poll, from, n uint64, r *rand.Rand, sleeps, looks time.Duration) (looked int) {
	for seq := from; seq < from+n; seq++ {
		look, trial := p.at(seq)
		took := sleeps
		if look {
			took = looks
			looked++
		}
		if trial != nil {
			trial.n++
			trial.sum += min(took+time.Duration(r.Int64N(int64(took/20)+1))-took/40, pollCap)
		}
	}
	return looked
}

// TestAReaderLooksOnlyWhereThatIsSooner, whatever it has done before.
func TestAReaderLooksOnlyWhereThatIsSooner(t *testing.T) {
	const us, cycles = time.Microsecond, 2 << pollSkip
	for name, c := range map[string]struct {
		sleeps, looks time.Duration // how long a message takes to come
		want          bool
	}{
		"the peer answers before a sleeper is awake": {sleeps: 45 * us, looks: 15 * us, want: true},
		"being woken costs a fifth":                  {sleeps: 60 * us, looks: 48 * us, want: true},
		"who looks is in the peer's way":             {sleeps: 50 * us, looks: 120 * us},
		"messages take long":                         {sleeps: 900 * us, looks: 900 * us},
		"it is all the same":                         {sleeps: 40 * us, looks: 40 * us},
	} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			for _, before := range []poll{{}, {looks: true}, {same: pollSkip}, {looks: true, same: pollAgain}} {
				p := before
				waits(&p, 0, cycles*pollCycle, r, c.sleeps, c.looks)
				if p.looks != c.want {
					t.Errorf("after %+v it looks: %t", before, p.looks)
				}
			}
		})
	}
}

// TestWhatLookingCostsAtMost: of a reader whose messages come late, the share of the waits
// in which it looks falls to less than one in a hundred, and those who call seldom never look.
func TestWhatLookingCostsAtMost(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var p poll
	if n := waits(&p, 0, pollLook, r, time.Millisecond, time.Millisecond); n != 0 {
		t.Errorf("looked %d times in the first %d waits", n, pollLook)
	}
	first := waits(&p, pollLook, pollCycle, r, time.Millisecond, time.Millisecond)
	waits(&p, pollLook+pollCycle, (1<<pollSkip)*pollCycle, r, time.Millisecond, time.Millisecond)
	const late = (4 << pollSkip) * pollCycle
	n := waits(&p, late, late, r, time.Millisecond, time.Millisecond)
	if first > pollCycle/16 || n > late/100 {
		t.Errorf("looked %d times in the first %d waits, and %d in %d later ones", first, pollCycle, n, late)
	}
}

// TestBothSidesTryAtTheSameTime, also if they have skip different numbers of trials.
func TestBothSidesTryAtTheSameTime(t *testing.T) {
	a, b := poll{same: 1}, poll{same: 3}
	both := 0
	for seq := range uint64(16 * pollCycle) {
		_, one := a.at(seq)
		_, other := b.at(seq)
		if one != nil && other != nil {
			both++
		}
		a.tried, b.tried = [2]mean{}, [2]mean{} // nothing is decided
	}
	if want := 2 * (pollDecide - pollLook); both != want {
		t.Errorf("%d trials at the same time, want %d", both, want)
	}
}
