package conn

import (
	"sync"
	"sync/atomic"
	"testing"
)

// S4.6: a connection is reaped or held, never both. A caller and a reaper meet at
// very many connections.
func TestS4_06_AConnectionIsReapedOrHeld(t *testing.T) {
	const (
		many   = 1 << 14
		rounds = 64
	)
	var reaped, held int
	for range rounds {
		holds := make([]hold, many)
		taken, ended := make([]bool, many), make([]bool, many)
		var place [2]atomic.Int64 // of each: they stay beside each other
		var wg sync.WaitGroup
		walk := func(me int, do func(i int)) {
			wg.Go(func() {
				for i := range many {
					place[me].Store(int64(i))
					for n := 0; n < 100 && place[1-me].Load() < int64(i); n++ { // a short spin: the other may have no processor
					}
					do(i)
				}
				place[me].Store(many)
			})
		}
		walk(0, func(i int) { taken[i], _ = holds[i].acquire() })
		walk(1, func(i int) { ended[i] = holds[i].reap() })
		wg.Wait()
		for i := range many {
			switch {
			case taken[i] && ended[i]:
				t.Fatal("a connection is reaped that is held")
			case !taken[i] && !ended[i]:
				t.Fatal("a connection is neither held nor reaped")
			case taken[i]:
				held++
			default:
				reaped++
			}
		}
	}
	t.Logf("%d were held, %d were reaped", held, reaped)
	if held == 0 || reaped == 0 {
		t.Error("they did not meet")
	}
}
