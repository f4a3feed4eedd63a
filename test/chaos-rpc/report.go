//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// shown is how many broken promises are printed.
const shown = 20

func (f *findings) print(w io.Writer, hits map[string]int, took time.Duration) {
	total := 0
	for _, n := range f.calls {
		total += n
	}
	fmt.Fprintf(w, "%d calls in %v (%.0f/s), %d runs\n", total, took.Round(time.Second), float64(total)/took.Seconds(), f.runs)
	for _, name := range slices.SortedFunc(maps.Keys(f.calls), func(a, b string) int { return f.calls[b] - f.calls[a] }) {
		fmt.Fprintf(w, "  %8d %s\n", f.calls[name], name)
	}
	for _, kind := range slices.Sorted(maps.Keys(f.kinds)) {
		fmt.Fprintf(w, "  %8d were calls %s\n", f.kinds[kind], kind)
	}
	fmt.Fprintf(w, "  %8d results were arguments of other calls\n", f.given)
	fmt.Fprintf(w, "  %8d were tried at more than one server\n", f.attempts)
	fmt.Fprintf(w, "  %8d runs of idempotent calls beyond the first\n", f.again)
	fmt.Fprintf(w, "  %8d calls ran whose client was killed before it knew\n", f.untold)
	fmt.Fprintf(w, "  %8d runs were noted late by a server that was frozen\n", f.excused)
	fmt.Fprintf(w, "  %8d runs were noted after their deadline, at most %v: the handler's goroutine had to wait\n", f.slow, f.slowest.Round(time.Millisecond))
	fmt.Fprintf(w, "  %8d calls were told more than 1 s after their deadline, at most %v\n", f.late, f.maxLate.Round(time.Millisecond))
	for _, name := range slices.Sorted(maps.Keys(hits)) {
		fmt.Fprintf(w, "  %8d × %s\n", hits[name], name)
	}
	fmt.Fprintf(w, "%d promises broken\n", len(f.broken))
	for _, b := range f.broken[:min(len(f.broken), shown)] {
		fmt.Fprintf(w, "  %s\n", b)
	}
}
