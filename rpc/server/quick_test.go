package server

import (
	"testing"
	"time"
)

func TestAMethodIsTrustedWhileItIsQuick(t *testing.T) {
	var p pace
	run := func(n int, d time.Duration) {
		for range n {
			p.took(d)
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
