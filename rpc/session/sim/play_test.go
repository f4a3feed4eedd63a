package sim

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// batch is many schedules, played on all cores.
type batch struct {
	first, n uint64
	mutant   Mutant
	log      io.Writer
	keep     string // a directory for traces of what is broken; empty: none
	stores   uint64 // one in so many seeds is also played with a key-value store; 0: none is
	next     atomic.Uint64
	done     atomic.Uint64

	mu        sync.Mutex
	broken    []Result
	stale     []string // histories of stores that are none
	histories uint64   // that were checked
	cover     Coverage
}

// enough is how many broken schedules end a batch.
const enough = 5

// play plays all of them. What is broken is told when it is found: a batch may be
// ended before it has ended by itself.
func (b *batch) play() {
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // much is thrown away, little is kept
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(b.work)
	}
	wg.Wait()
}

func (b *batch) work() {
	var cover Coverage
	for i := b.next.Add(1) - 1; i < b.n; i = b.next.Add(1) - 1 {
		r := Play(Schedule{Seed: b.first + i}, b.mutant, nil, &cover)
		b.done.Add(1)
		if len(r.Broken) > 0 {
			b.found(r)
		}
		if b.stores > 0 && (b.first+i)%b.stores == 0 {
			b.store(b.first + i)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cover.Add(&cover)
}

func (b *batch) found(r Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.Schedule = Narrow(r.Schedule, func(s Schedule) bool {
		return len(Play(s, b.mutant, nil, new(Coverage)).Broken) > 0
	})
	fmt.Fprintf(b.log, "BROKEN: %s\n", tell(r))
	if b.broken = append(b.broken, r); len(b.broken) >= enough {
		b.next.Store(b.n)
	}
	if b.keep != "" {
		if err := b.keepTrace(r); err != nil {
			fmt.Fprintf(b.log, "its trace is not kept: %s\n", err)
		}
	}
}

// store plays the schedule of a seed with a key-value store, and checks its history.
func (b *batch) store(seed uint64) {
	got, broken := playStore(seed, b.mutant, time.Minute)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.histories++; got == porcupine.Ok && len(broken) == 0 {
		return
	}
	what := fmt.Sprintf("linearizability of a key-value store: %s; %s\n\tgo test -vet=off ./rpc/session/sim -run TestS3_12 -first %d -seeds 1", got, strings.Join(broken, "; "), seed)
	fmt.Fprintf(b.log, "BROKEN: %s\n", what)
	if b.stale = append(b.stale, what); len(b.stale) >= enough {
		b.next.Store(b.n)
	}
}

// tell says what is wrong with a schedule, and how to play it again.
func tell(r Result) string {
	return fmt.Sprintf("%s\n\tgo test -vet=off ./rpc/session/sim -run TestSchedules %s", strings.Join(r.Broken, "; "), r.Schedule)
}

// keepTrace writes what happens in a schedule to a file that is named after it.
func (b *batch) keepTrace(r Result) error {
	if err := os.MkdirAll(b.keep, 0o755); err != nil {
		return err
	}
	var trace strings.Builder
	fmt.Fprintln(&trace, tell(r))
	Play(r.Schedule, b.mutant, &trace, new(Coverage))
	return os.WriteFile(filepath.Join(b.keep, fmt.Sprintf("seed-%d.txt", r.Schedule.Seed)), []byte(trace.String()), 0o644)
}

// report says every now and then how far the batch has come, until it is stopped.
func (b *batch) report(every time.Duration) (stop func()) {
	began, ended := time.Now(), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for tick := time.NewTicker(every); ; {
			select {
			case <-ended:
				tick.Stop()
				return
			case <-tick.C:
				n := b.done.Load()
				fmt.Fprintf(b.log, "%d of %d schedules, %.0f a second, at seed %d\n",
					n, b.n, float64(n)/time.Since(began).Seconds(), b.first+n)
			}
		}
	})
	return func() { close(ended); wg.Wait() }
}
