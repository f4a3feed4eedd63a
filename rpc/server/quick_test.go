package server

import (
	"testing"
	"time"
)

func TestAMethodIsTrustedWhileItIsQuick(t *testing.T) {
	var p pace
	run := func(n int, d time.Duration) {
		for range n {
			p.took(d, quickTime)
		}
	}
	for _, step := range []struct {
		name string
		runs int
		took time.Duration
		want bool
	}{
		{"too few quick runs", trustAfter - 1, time.Microsecond, false},
		{"one more", 1, time.Microsecond, true},
		{"many", 100, quickTime, true},
		{"one that took its time", 1, quickTime + 1, false},
		{"as few as at first", trustAfter, time.Microsecond, false},
		{"as many as it takes now", distrust, time.Microsecond, true},
	} {
		if run(step.runs, step.took); p.trusted() != step.want {
			t.Errorf("%s: trusted is %v", step.name, p.trusted())
		}
	}
}

func TestAMethodCostsWhatItHasTakenLately(t *testing.T) {
	var p pace
	for _, step := range []struct {
		name   string
		took   time.Duration
		atMost time.Duration
		more   time.Duration
	}{
		{"quick ones", time.Microsecond, 2 * time.Microsecond, 0},
		{"then slower ones", 20 * time.Microsecond, 21 * time.Microsecond, 15 * time.Microsecond},
		{"one that waited does not count for more than a quick one may", time.Hour, quickTime + time.Microsecond, 40 * time.Microsecond},
		{"quick ones again", time.Microsecond, 3 * time.Microsecond, 0},
	} {
		for range 4 * meanOf {
			p.took(step.took, quickTime)
		}
		if c := p.cost(); c > step.atMost || c <= step.more {
			t.Errorf("%s: %v, want more than %v, and at most %v", step.name, c, step.more, step.atMost)
		}
	}
}
