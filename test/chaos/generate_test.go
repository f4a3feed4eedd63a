//go:build linux

package main

import (
	"reflect"
	"testing"
)

func TestSameSeedSamePrograms(t *testing.T) {
	one, two, other := newGenerator(7, 1<<20), newGenerator(7, 1<<20), newGenerator(8, 1<<20)
	differ := 0
	for i := 500; i > 0; i-- { // in whatever order
		a, b := one.program(i), two.program(i)
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("session %d: %v, then %v", i, a, b)
		}
		if !reflect.DeepEqual(a, other.program(i)) {
			differ++
		}
	}
	if differ < 400 {
		t.Errorf("another seed changes only %d programs of 500", differ)
	}
}

func TestEveryWayIsGeneratedAndExpected(t *testing.T) {
	g := newGenerator(1, 64<<20)
	seen := map[way]int{}
	for i := range 30000 {
		p := g.program(i + 1)
		seen[p.way]++
		if p.way.session() && len(p.allowed()) == 0 {
			t.Errorf("%v: nothing is allowed", p)
		}
		if name, _, _ := p.function(); p.way.goesOn() && name == "" {
			t.Errorf("%v goes on after no function", p)
		}
		if p.way == wayForkBomb && p.arg > 15 {
			t.Errorf("%v: too many processes", p)
		}
	}
	for _, w := range append(g.ways, rare()...) {
		if seen[w.what] == 0 {
			t.Errorf("%s is never generated", w.what)
		}
	}
}

func TestNoHogWithoutALimit(t *testing.T) {
	g := newGenerator(1, 0)
	for i := range 5000 {
		if p := g.program(i + 1); p.way == wayHogOver {
			t.Fatalf("%v, and nothing limits it", p)
		}
	}
}

func TestPickFollowsTheWeights(t *testing.T) {
	g := newGenerator(3, 0)
	good, total := 0, 0
	for _, w := range g.ways {
		total += w.weight
		if w.what == wayGood {
			good = w.weight
		}
	}
	const n = 20000
	got := 0
	for i := range n {
		if g.program(i+1).way == wayGood {
			got++
		}
	}
	if want := n * good / total; got < want*9/10 || got > want*11/10 {
		t.Errorf("%d good programs of %d, want about %d", got, n, want)
	}
}

func TestAddressesNameSessions(t *testing.T) {
	for _, n := range []int{1, 255, 256, 65535, 65536, 99999, 15 << 20} {
		ip := address(n)
		got, ok := numberOf(ip.String() + ":4711")
		if !ok || got != n || !ip.IsLoopback() {
			t.Errorf("session %d is %s, which is %d, %v", n, ip, got, ok)
		}
	}
	for _, bad := range []string{"", "probe", "127.0.0.1:80", "10.1.0.1:80", "[::1]:80", "127.1.0.1"} {
		if n, ok := numberOf(bad); ok {
			t.Errorf("%q is session %d", bad, n)
		}
	}
}
