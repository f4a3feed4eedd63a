//go:build linux

package main

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"
)

func sampleOf(n int) *sample {
	s := &sample{}
	for i := n; i >= 1; i-- { // unsorted on purpose
		s.addValue(float64(i))
	}
	return s
}

func TestQuantileIsTheNearestRank(t *testing.T) {
	cases := map[string]struct {
		n    int
		q    float64
		want float64
	}{
		"the median of one value is that value":          {1, 0.5, 1},
		"the median of two is the lower":                 {2, 0.5, 1},
		"the median of three is the middle":              {3, 0.5, 2},
		"p99 of few values is the worst":                 {40, 0.99, 40},
		"p99 of a hundred leaves one above":              {100, 0.99, 99},
		"p99.9 of a thousand leaves one above":           {1000, 0.999, 999},
		"p0 is the best":                                 {10, 0, 1},
		"p100 is the worst":                              {10, 1, 10},
		"p99.9 of ten thousand leaves ten above":         {10000, 0.999, 9990},
		"a rank that is not whole is rounded up, not on": {101, 0.5, 51},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := sampleOf(tc.n).quantile(tc.q); got != tc.want {
				t.Errorf("quantile(%v) of 1..%d = %v, want %v", tc.q, tc.n, got, tc.want)
			}
		})
	}
	if got := (&sample{}).quantile(0.5); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v, want NaN", got)
	}
}

func TestDistStatesP999OnlyWhereThereIsOne(t *testing.T) {
	if d := sampleOf(999).dist(); d.P999 != nil {
		t.Errorf("999 values have a p99.9 of %v", *d.P999)
	}
	d := sampleOf(1000).dist()
	if d.P999 == nil || *d.P999 != 999 || d.P50 != 500 || d.P99 != 990 || d.Max != 1000 || d.N != 1000 {
		t.Errorf("dist of 1..1000 is %+v", d)
	}
	if d := (&sample{}).dist(); d.N != 0 {
		t.Errorf("dist of nothing is %+v", d)
	}
}

func TestLatencyOriginChargesTheServerAndNotOurTimer(t *testing.T) {
	due := time.Unix(1000, 0)
	late := due.Add(30 * time.Millisecond)
	if got := latencyOrigin(due, due.Add(-time.Millisecond), late); !got.Equal(late) {
		t.Errorf("a call that our timer delayed counts from %v, want from when it began", got)
	}
	if got := latencyOrigin(due, late, late); !got.Equal(due) {
		t.Errorf("a call that the one before it delayed counts from %v, want from when it was due", got)
	}
}

// A stall must show in the calls that it delayed, not only in the one that it hit.
func TestOpenLoopDoesNotOmitTheCallsThatAStallDelayed(t *testing.T) {
	const n, every, stall = 50, time.Millisecond, 40 * time.Millisecond
	calls := 0
	s, err := openLoop{every: every, n: n}.run(context.Background(), func() error {
		if calls++; calls == 5 {
			time.Sleep(stall)
		}
		return nil
	}, nil)
	if err != nil || len(s.values) != n {
		t.Fatalf("%d values, error %v", len(s.values), err)
	}
	slow := 0
	for _, v := range s.values {
		if v > (stall / 4).Seconds() {
			slow++
		}
	}
	if slow < 20 {
		t.Errorf("a stall of %v at a call every %v made %d calls slow, want about 30", stall, every, slow)
	}
}

func TestOpenLoopStopsAtAnErrorAndWithItsContext(t *testing.T) {
	boom := errors.New("boom")
	if _, err := (openLoop{every: time.Microsecond, n: 10}).run(context.Background(), func() error { return boom }, nil); !errors.Is(err, boom) {
		t.Errorf("error of a call became %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err := openLoop{every: time.Hour, n: 2}.run(ctx, func() error { cancel(); return nil }, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled loop returned %v", err)
	}
}
