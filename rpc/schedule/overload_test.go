package schedule

import (
	"math/rand/v2"
	"testing"
	"time"
)

const (
	quick = 10 + iota
	even
	slow
)

// busy is a server with methods of all kinds, and clients that ask for very different amounts.
func (w *world) busy(opt Options) func() *Call {
	w.q = New(opt)
	w.q.Method(device, MethodOptions{Concurrency: 1})
	w.took = map[uint32]time.Duration{quick: time.Millisecond, even: 10 * time.Millisecond, slow: 50 * time.Millisecond, device: 40 * time.Millisecond}
	client := rand.NewZipf(w.rng, 1.5, 1, 50)
	return func() *Call {
		c := &Call{Client: [16]byte{byte(client.Uint64())}, Method: quick + uint32(w.rng.IntN(3)), Priority: Priority(1 + w.rng.IntN(3))}
		if w.rng.IntN(20) == 0 {
			c.Method = device
		}
		return c
	}
}

// mean is what a call of a busy server takes.
const mean = 19*(1+10+50)*time.Millisecond/3/20 + 2*time.Millisecond

// What is refused as hopeless would not have started in time: some of them are
// let in all the same, without a deadline, to see.
func TestHopelessIsHopeless(t *testing.T) {
	for _, load := range []float64{0.9, 1.2, 1.5, 3} {
		eachSeed(t, func(t *testing.T, w *world) {
			next := w.busy(Options{Limit: 4, Standing: -1})
			probes := map[*Call]time.Duration{}
			var pushed, refused, seen, wrong, lateOnes int
			w.onStart = func(c *Call) {
				if deadline, ok := probes[c]; ok {
					seen++
					if w.now < deadline {
						wrong++
					}
					delete(probes, c)
				}
			}
			w.onShed = func(*Call, Verdict) { lateOnes++ }
			w.arrive(time.Duration(float64(mean)/4/load), func() {
				c := next()
				pushed++
				c.Deadline = w.now + time.Duration(1+w.rng.IntN(500))*time.Millisecond
				deadline := c.Deadline
				if w.push(c).Reason != Hopeless {
					return
				}
				if refused++; refused%5 == 0 {
					c.Deadline = 0
					probes[c] = deadline
					w.push(c)
				}
			})
			w.run(300 * time.Second)
			for _, deadline := range probes {
				if w.now > deadline {
					seen++
				}
			}
			t.Logf("load %.1f: of %d calls %.1f %% were refused as hopeless, %.1f %% of which wrongly (%d of %d); %.1f %% were let in and too late",
				load, pushed, percent(refused, pushed), percent(wrong, seen), wrong, seen, percent(lateOnes, pushed))
			if percent(wrong, seen) > 15 {
				t.Errorf("load %.1f: of %d refused calls %d would have started in time", load, seen, wrong)
			}
		})
	}
}

// With twice as much to do as can be done, what starts has not waited long, and no slot
// is idle.
func TestShedding(t *testing.T) {
	for _, clients := range []int{1, 1000} {
		for _, priority := range []Priority{Interactive, Normal, Bulk} {
			eachSeed(t, func(t *testing.T, w *world) {
				const limit, took = 8, 10 * time.Millisecond
				w.q = New(Options{Limit: limit, Queue: 1 << 20})
				w.took = map[uint32]time.Duration{even: took}
				target := 100 * time.Millisecond * time.Duration(prices[priority-1])
				var settled bool
				var ends, shed int
				var waits []time.Duration
				arrived := map[*Call]time.Duration{}
				w.onStart = func(c *Call) {
					if settled {
						waits = append(waits, w.now-arrived[c])
					}
				}
				w.onEnd = func(*Call) {
					if settled {
						ends++
					}
				}
				w.onShed = func(_ *Call, v Verdict) {
					if v.Reason != Standing || v.After <= 0 {
						t.Fatalf("shed: %v", v)
					}
					shed++
				}
				w.arrive(took/limit/2, func() {
					c := &Call{Method: even, Priority: priority, Client: [16]byte{byte(w.rng.IntN(clients)), byte(w.rng.IntN(4))}}
					arrived[c] = w.now
					w.push(c)
				})
				w.run(4 * target)
				settled = true
				w.run(w.now + 60*time.Second)
				goodput := float64(ends) / (60 * limit * float64(time.Second/took))
				median, p99 := quantile(waits, 0.5), quantile(waits, 0.99)
				t.Logf("priority %d, %d clients: goodput %.1f %%, waited %s, p99 %s; %d shed", priority, clients, 100*goodput,
					median.Round(time.Millisecond), p99.Round(time.Millisecond), shed)
				if goodput < 0.9 || p99 > target {
					t.Errorf("priority %d: goodput %.2f, waited %s, p99 %s, target %s", priority, goodput, median, p99, target)
				}
			})
		}
	}
}

// A server that has enough to do, but not too much, sheds next to nothing; a burst is no
// reason either.
func TestNoShedding(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world) {
		const limit, took = 8, 10 * time.Millisecond
		w.q = New(Options{Limit: limit, Queue: 1 << 20})
		w.took = map[uint32]time.Duration{even: took}
		pushed, shed := 0, 0
		w.onShed = func(*Call, Verdict) { shed++ }
		w.arrive(took*10/limit/9, func() {
			pushed++
			w.push(&Call{Method: even, Priority: Interactive})
		})
		w.run(60 * time.Second)
		before := shed
		w.keep(150, Call{Method: even, Priority: Bulk}) // 190 ms of work, and so little to wait for
		w.run(w.now + 60*time.Second)
		t.Logf("load 0.9: %d of %d shed; after a burst %d", before, pushed, shed-before)
		if percent(shed, pushed) > 0.5 {
			t.Errorf("%d of %d calls were shed at load 0.9", shed, pushed)
		}
	})
}

// One client's long queue at a device is no reason to shed what others do elsewhere.
func TestSheddingIsForTheGateThatIsTooBusy(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world) {
		next := w.busy(Options{Limit: 4})
		atDevice, elsewhere := 0, 0
		w.onShed = func(c *Call, _ Verdict) {
			if c.Method == device {
				atDevice++
			} else {
				elsewhere++
			}
		}
		w.arrive(mean/2, func() { w.push(next()) })
		w.arrive(20*time.Millisecond, func() { w.push(&Call{Method: device}) })
		w.run(60 * time.Second)
		t.Logf("%d shed at the device, %d elsewhere", atDevice, elsewhere)
		if atDevice < 1000 || elsewhere > 0 {
			t.Errorf("%d shed at the device, %d elsewhere", atDevice, elsewhere)
		}
	})
}
