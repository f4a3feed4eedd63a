package server

import (
	"testing"
	"time"
)

// What a handler calls inherits its deadline: that must not move while it is asked for.
func TestC9_AHandlersDeadlineIsNotLaterThanItsCalls(t *testing.T) {
	start := time.Now()
	c := &Core{now: func() time.Duration { return time.Since(start) }}
	j := &Job{core: c, deadline: time.Hour}
	for range 1000 {
		if at, ok := j.Deadline(); !ok || at.After(start.Add(time.Hour)) {
			t.Fatalf("%v after the call's, %v", at.Sub(start.Add(time.Hour)), ok)
		}
	}
	j.deadline = 0
	if at, ok := j.Deadline(); ok {
		t.Errorf("a call without a deadline has one in %v", time.Until(at))
	}
}
