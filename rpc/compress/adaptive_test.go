package compress

import (
	"math/rand/v2"
	"testing"
	"time"
)

// link is what messages go over in a simulation, and what is sent.
type link struct {
	rate  float64 // bytes per second
	cpu   float64 // ns to compress a byte
	ratio float64 // that bodies become
}

// Links of a data centre, a node's share of one, and a wide area; and bodies.
var (
	fast   = link{rate: 3e9, cpu: 1, ratio: 0.3} // 24 Gb/s
	slow   = link{rate: 12e6, cpu: 1, ratio: 0.3}
	wide   = link{rate: 1e6, cpu: 3, ratio: 0.25}
	random = link{rate: 12e6, cpu: 1, ratio: 1}
)

// run sends messages of 16 KiB and returns how many of them were compressed, and
// what all took, in ns. Every cost is disturbed by up to a fifth.
func (l link) run(a *Adaptive, r *rand.Rand, messages int) (compressed int, took float64) {
	const n = 16 << 10
	disturbed := func(ns float64) time.Duration { return time.Duration(ns * (0.9 + 0.2*r.Float64())) }
	for range messages {
		sent := n
		if a.Want(n) {
			compressed++
			sent = int(n * l.ratio)
			d := disturbed(n * l.cpu)
			a.Compressed(n, sent, d)
			took += float64(d)
		}
		d := disturbed(float64(sent) / l.rate * 1e9)
		a.Link(sent, d)
		took += float64(d)
	}
	return compressed, took
}

// best is what messages take for one who knows all from the start, in ns.
func (l link) best(messages int) float64 {
	plain := 1e9 / l.rate
	return float64(messages) * (16 << 10) * min(plain, l.cpu+l.ratio*plain)
}

func TestS2_25_AdaptiveFollowsTheLink(t *testing.T) {
	probes := func(n int) int { return n/ProbeEvery + 3 }
	for _, x := range []struct {
		name  string
		links []link
		on    bool // in the end
	}{
		{"a fast link: off", []link{fast}, false},
		{"a slow link: on", []link{slow}, true},
		{"a wide area: on", []link{wide}, true},
		{"bodies that do not become shorter: off", []link{random}, false},
		{"the link becomes slow: on", []link{fast, slow}, true},
		{"the link becomes fast: off", []link{slow, fast}, false},
		{"the link goes back and forth", []link{slow, fast, slow, fast, slow}, true},
		{"bodies become random: off", []link{slow, random}, false},
		{"bodies become compressible: on", []link{random, slow}, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			const messages = 5_000
			r := rand.New(rand.NewPCG(1, 2))
			var a Adaptive
			var took, best float64
			for _, l := range x.links {
				_, d := l.run(&a, r, messages)
				took, best = took+d, best+l.best(messages)
			}
			last := x.links[len(x.links)-1]
			n, _ := last.run(&a, r, messages)
			if s := a.Stats(); s.On != x.on || x.on && n != messages || !x.on && n > probes(messages) {
				t.Errorf("%d of %d messages are compressed, %+v", n, messages, s)
			}
			t.Logf("takes %.1f %% more than with all known", 100*(took/best-1))
			if took > 1.15*best {
				t.Errorf("takes %.2f times what it would with all known", took/best)
			}
		})
	}
}

// How many messages it takes to change.
func TestS2_25_AdaptiveChangesSoon(t *testing.T) {
	for _, x := range []struct {
		name         string
		before, then link
		on           bool
		within       int // messages
	}{
		{"at the start, fast", link{}, fast, false, 3},
		{"at the start, slow", link{}, slow, true, 3},
		{"slow becomes fast", slow, fast, false, 64},
		{"fast becomes slow", fast, slow, true, 8},
		{"text becomes random", slow, random, false, 64},
		{"random becomes text", random, slow, true, 2 * ProbeEvery},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 6))
			var a Adaptive
			if x.before.rate > 0 {
				x.before.run(&a, r, 1000)
			}
			n := 0
			for ; n == 0 || a.Stats().On != x.on; n++ {
				if n > x.within {
					t.Fatalf("still not after %d messages: %+v", n, a.Stats())
				}
				x.then.run(&a, r, 1)
			}
			t.Logf("after %d messages", n)
		})
	}
}

// The first compression is slow, and so is one in the middle of which the
// machine paused. Neither turns compression off for long.
func TestS2_25_AdaptiveForgetsDisturbances(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var a Adaptive
	a.Want(MinLen)
	a.Compressed(MinLen, MinLen/4, 50*time.Millisecond)
	if n, _ := wide.run(&a, r, 1000); n != 1000 {
		t.Errorf("%d of 1000 messages are compressed after a cold start", n)
	}
	a.Compressed(MinLen, MinLen/4, time.Minute)
	if n, _ := wide.run(&a, r, 1000); n != 1000 {
		t.Errorf("%d of 1000 messages are compressed after a pause", n)
	}
}

func TestS2_25_AdaptiveTakesNoNonsense(t *testing.T) {
	var a Adaptive
	if a.Want(MinLen - 1) {
		t.Error("wants a body of 1023 bytes")
	}
	a.Compressed(0, 0, time.Second)
	a.Link(0, time.Second)
	a.Link(1, 0)
	if s := a.Stats(); s != (Stats{}) {
		t.Errorf("knows %+v of nothing", s)
	}
	if !a.Want(MinLen) {
		t.Error("does not want to know")
	}
	a.Compressed(MinLen, 9*MinLen, time.Second)
	a.Link(1000, time.Second)
	if s := a.Stats(); s.Ratio != 1 || s.LinkRate != 1000 || s.On {
		t.Errorf("%+v", s)
	}
}

// Encode measures with the clock that it was given.
func TestS2_25_EncodeMeasures(t *testing.T) {
	now := time.Unix(0, 0)
	c := New(Options{Now: func() time.Time { now = now.Add(time.Millisecond); return now }})
	plain := text(10_000)
	var a Adaptive
	for range 2 {
		if out, compressed := c.Encode(&a, []byte("x"), S2, plain); !compressed || len(out) >= len(plain) {
			t.Fatalf("%d bytes, %v", len(out), compressed)
		}
	}
	if s := a.Stats(); s.CPU != 100 || s.Ratio <= 0 || s.Ratio > 0.9 {
		t.Errorf("%+v, want 100 ns/B", s)
	}
	a.Link(1000, time.Second)
	if s := a.Stats(); !s.On {
		t.Errorf("off on a link of 1 kB/s: %+v", s)
	}
	if out, compressed := c.Encode(&a, []byte("x"), S2, noise(10_000)); compressed || string(out) != "x" {
		t.Errorf("noise became %d bytes", len(out))
	}
	var idle Adaptive
	if out, compressed := c.Encode(&idle, []byte("x"), S2, plain[:100]); compressed || string(out) != "x" || idle.Stats() != (Stats{}) {
		t.Errorf("100 bytes became %d", len(out))
	}
}
