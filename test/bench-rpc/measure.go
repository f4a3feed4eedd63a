package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// round is what one round of one peer came to.
type round struct {
	calls    int
	each     time.Duration // wall time by calls
	p50, p99 time.Duration
	cpu      time.Duration // both processes, by calls
	allocs   float64       // both processes, by calls
}

// measure calls for a while.
func measure(c client, s *child, size, callers int, d time.Duration) (r round, err error) {
	in := make([]byte, size)
	for i := range callers { // connections are made, and buffers
		if n, err := c.call(i, in); err != nil || n != size {
			return r, fmt.Errorf("echo of %d bytes came back as %d: %w", size, n, err)
		}
	}
	serverBefore, err := s.used()
	if err != nil {
		return r, err
	}
	before := used()
	var stop atomic.Bool
	failed := make(chan error, callers)
	all := make([][]time.Duration, callers)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range callers {
		wg.Go(func() {
			took := make([]time.Duration, 0, 1<<14)
			last := time.Now()
			for !stop.Load() {
				if n, err := c.call(i, in); err != nil || n != size {
					failed <- fmt.Errorf("echo of %d bytes came back as %d: %w", size, n, err)
					return
				}
				now := time.Now()
				took = append(took, now.Sub(last))
				last = now
			}
			all[i] = took
		})
	}
	time.Sleep(d)
	stop.Store(true)
	wg.Wait()
	wall := time.Since(start)
	after := used()
	serverAfter, err := s.used()
	if err != nil {
		return r, err
	}
	select {
	case err := <-failed:
		return r, err
	default:
	}
	took := slices.Concat(all...)
	slices.Sort(took)
	n := len(took)
	r = round{calls: n, each: wall / time.Duration(n), p50: took[n/2], p99: took[n*99/100]}
	r.cpu = (after.CPU - before.CPU + serverAfter.CPU - serverBefore.CPU) / time.Duration(n)
	r.allocs = float64(after.Mallocs-before.Mallocs+serverAfter.Mallocs-serverBefore.Mallocs) / float64(n)
	return r, nil
}

// median returns the middle of what of gives for each round.
func median[T int | float64 | time.Duration](rounds []round, of func(round) T) T {
	var all []T
	for _, r := range rounds {
		all = append(all, of(r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
