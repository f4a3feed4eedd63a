package schedule

import (
	"container/heap"
	"flag"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "of the simulations; 0: 1, of those that take long, 1 to 3 of the others")

func eachSeed(t *testing.T, f func(t *testing.T, w *world)) { someSeeds(t, 3, f) }

func someSeeds(t *testing.T, n int, f func(t *testing.T, w *world)) {
	seeds := []uint64{1, 2, 3}[:n]
	if testing.Short() {
		seeds = seeds[:1]
	}
	if *seedFlag != 0 {
		seeds = []uint64{*seedFlag}
	}
	for _, seed := range seeds {
		t.Logf("seed %d", seed)
		f(t, &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), took: map[uint32]time.Duration{}})
	}
}

// world is a server on virtual time. It looks at nothing of the queue but what an owner does.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Duration
	q      *Queue
	events events
	took   map[uint32]time.Duration // mean of each method, spread exponentially; missing: a millisecond

	onStart, onEnd func(*Call)
	onShed         func(*Call, Verdict)
}

type event struct {
	at time.Duration
	n  int
	do func()
}

type events []event

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].n < h[j].n
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)   { *h = append(*h, x.(event)) }
func (h *events) Pop() any {
	e := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return e
}

func (w *world) after(d time.Duration, do func()) {
	heap.Push(&w.events, event{w.now + d, w.rng.Int(), do})
}

func (w *world) spread(mean time.Duration) time.Duration {
	return time.Duration(w.rng.ExpFloat64() * float64(mean))
}

// run plays until a time.
func (w *world) run(until time.Duration) {
	for w.serve(); len(w.events) > 0 && w.events[0].at < until; w.serve() {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = until
}

// serve is what an owner does after each event.
func (w *world) serve() {
	for c := w.q.Pop(w.now); c != nil; c = w.q.Pop(w.now) {
		if w.onStart != nil {
			w.onStart(c)
		}
		mean, known := w.took[c.Method]
		if !known {
			mean = time.Millisecond
		}
		w.after(w.spread(mean), func() {
			w.q.Done(w.now, c)
			if w.onEnd != nil {
				w.onEnd(c)
			}
		})
	}
	for c, v := w.q.Shed(w.now); c != nil; c, v = w.q.Shed(w.now) {
		if w.onShed != nil {
			w.onShed(c, v)
		}
	}
}

// arrive lets calls come with so much time between them, on average.
func (w *world) arrive(every time.Duration, one func()) {
	w.after(w.spread(every), func() {
		one()
		w.arrive(every, one)
	})
}

func (w *world) push(c *Call) Verdict { return w.q.Push(w.now, c) }

// keep lets so many calls wait at all times: who has ended comes again.
func (w *world) keep(n int, c Call) {
	for range n {
		c := c
		w.push(&c)
	}
}

func (w *world) again(c *Call) {
	if v := w.push(c); v.Reason != Queued {
		w.t.Fatalf("refused: %v", v)
	}
}

func TestSharesOfTime(t *testing.T) {
	took := map[string]map[uint32]time.Duration{
		"calls that take as long": {1: time.Millisecond, 2: time.Millisecond, 3: time.Millisecond},
		"bulk takes 100 times":    {1: time.Millisecond, 2: 5 * time.Millisecond, 3: 100 * time.Millisecond},
		"bulk is the shortest":    {1: 20 * time.Millisecond, 2: 5 * time.Millisecond, 3: time.Millisecond},
	}
	limits := []int{1, 4, 32}
	if raceEnabled { // there is nothing to race, and it takes ten times as long
		limits = []int{4}
	}
	for name, took := range took {
		for _, limit := range limits {
			someSeeds(t, 1, func(t *testing.T, w *world) {
				w.q, w.took = New(Options{Limit: limit, Queue: 1 << 20, Standing: -1}), took
				for m := range uint32(3) {
					w.q.Method(m+1, MethodOptions{Priority: Priority(m + 1)})
				}
				var used [3]time.Duration
				started := map[*Call]time.Duration{}
				w.onStart = func(c *Call) { started[c] = w.now }
				w.onEnd = func(c *Call) {
					used[c.Method-1] += w.now - started[c]
					w.again(c)
				}
				for m := range uint32(3) {
					w.keep(200, Call{Method: m + 1})
				}
				w.run(max(200*time.Second/time.Duration(limit), 50*time.Second))
				sum := float64(used[0] + used[1] + used[2])
				for i, want := range []float64{8, 4, 1} {
					if got := float64(used[i]) / sum * 13; math.Abs(got/want-1) > 0.04 {
						t.Errorf("%s, %d slots: priority %d has a share of %.2f, want %.0f", name, limit, i+1, got, want)
					}
				}
				t.Logf("%s, %d slots: %.2f : %.2f : %.2f", name, limit,
					float64(used[0])/sum*13, float64(used[1])/sum*13, float64(used[2])/sum*13)
			})
		}
	}
}

// Whatever others ask for, a bulk call waits for no more than the others' shares of what
// one call takes.
func TestNobodyStarves(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world) {
		w.q = New(Options{Limit: 2, Queue: 1 << 20, Standing: -1})
		waited, worst := map[*Call]time.Duration{}, [4]time.Duration{}
		w.onStart = func(c *Call) {
			worst[c.Priority] = max(worst[c.Priority], w.now-waited[c])
		}
		w.onEnd = func(c *Call) {
			waited[c] = w.now
			w.again(c)
		}
		w.keep(1000, Call{Priority: Interactive, Client: [16]byte{1}})
		w.keep(1000, Call{Priority: Normal, Client: [16]byte{1}})
		w.keep(1, Call{Priority: Bulk, Client: [16]byte{2}})
		w.keep(1, Call{Priority: Normal, Client: [16]byte{3}})
		w.run(20 * time.Second)
		if worst[Bulk] == 0 || worst[Bulk] > 100*time.Millisecond {
			t.Errorf("a bulk call has waited %s", worst[Bulk])
		}
		t.Logf("a bulk call of 1 ms has waited %s at the most, beside 2000 others", worst[Bulk])
	})
}

// A client's first call starts when each of the others has started one more.
func TestOneRound(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world) {
		w.q = New(Options{Limit: 3, Queue: 1 << 20, Standing: -1})
		w.q.Method(pair, MethodOptions{Concurrency: 2})
		since, worst := map[*Call]map[[16]byte]int{}, 0
		w.onStart = func(c *Call) {
			delete(since, c)
			for _, starts := range since {
				starts[c.Client]++
				worst = max(worst, starts[c.Client])
			}
		}
		w.keep(10_000, Call{Method: plain, Client: [16]byte{1}})
		for i := range 20 {
			w.keep(100*i, Call{Method: plain, Client: [16]byte{2, byte(i)}})
		}
		n := byte(0)
		w.arrive(20*time.Millisecond, func() {
			n++
			c := &Call{Method: plain, Client: [16]byte{3, n}}
			since[c] = map[[16]byte]int{}
			w.again(c)
		})
		w.run(2 * time.Second)
		if worst != 1 {
			t.Errorf("while a client's first call waited, another has started %d", worst)
		}
	})
}

// All clients that always want more start as many calls, whether they have few or many in the queue.
func TestFairShare(t *testing.T) {
	for name, m := range map[string]uint32{"open": plain, "device": device, "pair": pair} {
		eachSeed(t, func(t *testing.T, w *world) {
			w.q = New(Options{Limit: 4, Queue: 1 << 20, Standing: -1})
			w.q.Method(device, MethodOptions{Concurrency: 1})
			w.q.Method(pair, MethodOptions{Concurrency: 2})
			starts := map[[16]byte]int{}
			w.onStart = func(c *Call) { starts[c.Client]++ }
			w.onEnd = w.again
			for i := range 10 {
				w.keep(5+1000*(i%3), Call{Method: m, Client: [16]byte{byte(i)}})
			}
			w.run(20 * time.Second)
			low, high := math.MaxInt, 0
			for _, n := range starts {
				low, high = min(low, n), max(high, n)
			}
			if len(starts) != 10 || low < 900 || high-low > 1 {
				t.Errorf("%s: %d clients have started %d to %d calls", name, len(starts), low, high)
			}
		})
	}
}

// With methods of all kinds, an exclusive one never runs twice and a pair never three times,
// unless it is from within.
func TestBoundsAreKept(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world) {
		w.q = New(Options{Limit: 8, Queue: 1 << 20, Standing: -1})
		bound := map[uint32]int{device: 1, pair: 2, plain: 8}
		w.q.Method(device, MethodOptions{Concurrency: 1})
		w.q.Method(pair, MethodOptions{Concurrency: 2})
		n, most := map[uint32]int{}, map[uint32]int{}
		w.onStart = func(c *Call) {
			n[c.Method]++
			most[c.Method] = max(most[c.Method], n[c.Method])
		}
		w.onEnd = func(c *Call) {
			n[c.Method]--
			c.Priority = Priority(1 + w.rng.IntN(3))
			w.after(w.spread(time.Millisecond), func() { w.again(c) })
		}
		for i := range 100 {
			w.keep(1, Call{Method: uint32(plain + i%3), Client: [16]byte{byte(i % 7)}})
		}
		w.run(10 * time.Second)
		for m, b := range bound {
			if most[m] != b {
				t.Errorf("method %d ran %d times at once, want %d", m, most[m], b)
			}
		}
	})
}

func percent(a, b int) float64 { return 100 * float64(a) / float64(max(b, 1)) }

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[int(q*float64(len(d)-1))]
}
