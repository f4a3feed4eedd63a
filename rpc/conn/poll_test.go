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

// silent is a connection by which nothing comes.
type silent struct{ trier }

func (silent) look([]byte) (int, error) { return 0, nil }

// TestWhoLosesItsProcessorStopsLooking: others compute, and have it for a slice each time that it is given to them.
func TestWhoLosesItsProcessorStopsLooking(t *testing.T) {
	if processors() < 2 {
		t.Skip("with one processor nobody looks")
	}
	rd := &reader{try: silent{}, seq: 5000}
	looks := func(n int, away time.Duration) {
		for range n {
			_, _ = rd.look(nil, time.Now(), 2*away+time.Microsecond, func() { time.Sleep(away) })
		}
	}
	looks(1, lostTime)
	if rd.crowd.sleeps != 0 || rd.poll.until != 0 {
		t.Error("one time was no chance")
	}
	for i, want := range []int{lostSleep, 2 * lostSleep, 4 * lostSleep} {
		looks(1, lostTime)
		rd.crowd.looked(false) // as any look that has found nothing
		if rd.crowd.sleeps != want {
			t.Errorf("after %d more it sleeps in the next %d waits, want %d", i+1, rd.crowd.sleeps, want)
		}
		if look, trial := rd.poll.at(rd.seq + uint64(want) - 1); look || trial != nil {
			t.Error("it looks, or tries to")
		}
		if _, trial := rd.poll.at(rd.seq + uint64(want) + pollCycle - (rd.seq+uint64(want))%pollCycle + pollLook); trial == nil {
			t.Error("it never tries again")
		}
	}
	looks(lostLooks+1, 0)
	rd.crowd.sleeps = 0
	looks(1, lostTime)
	if rd.crowd.sleeps != 0 {
		t.Error("what was long ago counts")
	}
	looks(1, lostTime)
	if rd.crowd.sleeps != lostSleep {
		t.Errorf("then it sleeps in the next %d waits, want %d", rd.crowd.sleeps, lostSleep)
	}
}
