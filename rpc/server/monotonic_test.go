package server

import (
	"testing"
	"time"
)

// Eight pairs of readings, of which one is not torn apart by a stall.
func TestTheClosestReadingsOfTwoClocksCount(t *testing.T) {
	const ahead = 1000 * time.Second
	for name, tc := range map[string]struct {
		stalls     [samples][2]time.Duration // before and after the machine's clock is read
		most, less time.Duration             // bounds of what is found
	}{
		"all alike":     {most: ahead, less: ahead},
		"one is close":  {[samples][2]time.Duration{{time.Second, 0}, {0, time.Second}, {2, 3}, {9, 9}, {9, 9}, {9, 9}, {9, 9}, {9, 9}}, ahead + 2, ahead - 3},
		"all are apart": {[samples][2]time.Duration{{50, 0}, {0, 40}, {60, 0}, {60, 0}, {60, 0}, {60, 0}, {60, 0}, {60, 0}}, ahead, ahead - 40},
	} {
		var now time.Duration
		pair := 0
		read := false
		core := func() time.Duration {
			if read {
				now += tc.stalls[pair][1]
				pair, read = pair+1, false
			}
			return now
		}
		machine := func() (time.Duration, bool) {
			now += tc.stalls[pair][0]
			read = true
			return now + ahead, true
		}
		m, ok := compare(core, machine)
		if !ok || m.most != tc.most || m.least != tc.less {
			t.Errorf("%s: %v to %v, %v; want %v to %v", name, m.least, m.most, ok, tc.less, tc.most)
		}
		if pair != samples {
			t.Errorf("%s: read %d times", name, pair)
		}
	}
}

func TestWithoutAMachinesClockThereIsNoUntil(t *testing.T) {
	now := func() time.Duration { return 5 }
	if m, ok := compare(now, func() (time.Duration, bool) { return 0, false }); ok {
		t.Errorf("%v", m)
	}
	for name, j := range map[string]*Job{
		"no clock":    {core: &Core{now: now}, deadline: 7},
		"no deadline": {core: &Core{now: now, machine: &monotonic{1, 2}}},
	} {
		if at, ok := j.Until(); ok {
			t.Errorf("%s: until %v", name, at)
		}
	}
	if at, ok := (&Job{core: &Core{now: now, machine: &monotonic{100, 200}}, deadline: 7}).Until(); !ok || at != 107 {
		t.Errorf("until %v, %v: want what is surely not too late", at, ok)
	}
}
