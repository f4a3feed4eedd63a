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

// tally is what became of calls that have deadlines.
type tally struct{ pushed, refused, probes, wrong, late int }

// refuse plays a server with a load, and lets in, without a deadline, a part of what was
// refused as hopeless, to see whether it would have started in time.
func (w *world) refuse(load float64, n *tally) {
	next := w.busy(Options{Limit: 4, Standing: -1})
	probes := map[*Call]time.Duration{}
	w.onStart = func(c *Call) {
		if deadline, ok := probes[c]; ok && w.now < deadline {
			n.wrong++
		}
	}
	w.onShed = func(*Call, Verdict) { n.late++ }
	w.arrive(time.Duration(float64(mean)/4/load), func() {
		c := next()
		c.Deadline = w.now + time.Duration(1+w.rng.IntN(500))*time.Millisecond
		deadline := c.Deadline
		n.pushed++
		if w.push(c).Reason != Hopeless {
			return
		}
		if n.refused++; n.refused%10 == 0 {
			c.Deadline = 0
			if w.push(c).Reason == Queued {
				probes[c] = deadline
				n.probes++
			}
		}
	})
	w.run(100 * time.Second)
}

// What is refused as hopeless would hardly ever have started in time.
func TestHopelessIsHopeless(t *testing.T) {
	for _, load := range []float64{0.9, 1.2, 1.5, 3} {
		var n tally
		eachSeed(t, func(_ *testing.T, w *world) { w.refuse(load, &n) })
		wrong := percent(n.wrong, n.probes)
		all := wrong * percent(n.refused, n.pushed) / 100
		t.Logf("load %.1f: of %d calls %.1f %% were refused as hopeless, %.1f %% of these wrongly (%d of %d tried), which is %.2f %% of all; %.1f %% were let in and too late",
			load, n.pushed, percent(n.refused, n.pushed), wrong, n.wrong, n.probes, all, percent(n.late, n.pushed))
		if n.probes < 15 || wrong > 10 && all > 0.5 {
			t.Errorf("load %.1f: of %d refused calls %d would have started in time", load, n.probes, n.wrong)
		}
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
				w.run(w.now + 20*time.Second)
				goodput := float64(ends) / (20 * limit * float64(time.Second/took))
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
		w.run(20 * time.Second)
		before := shed
		w.keep(150, Call{Method: even, Priority: Bulk}) // 190 ms of work, and so little to wait for
		w.run(w.now + 20*time.Second)
		t.Logf("load 0.9: %d of %d shed; after a burst %d", before, pushed, shed-before)
		if percent(shed, pushed) > 0.5 {
			t.Errorf("%d of %d calls were shed at load 0.9", shed, pushed)
		}
	})
}

// Where a call takes long, to wait for a few is not to wait too long.
func TestNoSheddingOfWhatWaitsForAFew(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world) {
		w.q = New(Options{Limit: 4})
		w.q.Method(device, MethodOptions{Concurrency: 1, Priority: Interactive})
		w.took = map[uint32]time.Duration{device: time.Second}
		shed, ran := 0, 0
		w.onShed = func(c *Call, _ Verdict) {
			shed++
			w.again(c)
		}
		w.onEnd = func(c *Call) {
			ran++
			w.again(c)
		}
		w.keep(3, Call{Method: device})
		w.run(1000 * time.Second)
		t.Logf("%d ran, %d were shed", ran, shed)
		if percent(shed, ran) > 3 {
			t.Errorf("%d calls were shed, of %d", shed, ran)
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
		w.run(20 * time.Second)
		t.Logf("%d shed at the device, %d elsewhere", atDevice, elsewhere)
		if atDevice < 300 || elsewhere > 0 {
			t.Errorf("%d shed at the device, %d elsewhere", atDevice, elsewhere)
		}
	})
}
