package accumulator

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// nowhere is a pusher that throws batches away.
type nowhere struct{}

func (nowhere) Push(context.Context, []byte) error { return nil }

func benchClient(b *testing.B, opts Options) *Client {
	b.ReportAllocs()
	c := NewClient(nowhere{}, opts)
	b.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// parallel runs b by exactly n goroutines.
func parallel(b *testing.B, n int, write func()) {
	procs := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(min(n, procs)) // one goroutine is one
	defer runtime.GOMAXPROCS(procs)
	b.SetParallelism(max(n/procs, 1))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			write()
		}
	})
}

// What a write costs, beside the floor: one integer that all add to.
func BenchmarkS1_41_Add(b *testing.B) {
	for _, n := range []int{1, 2, 8} {
		name := func(what string) string { return fmt.Sprintf("%s/goroutines=%d", what, n) }
		b.Run(name("atomic"), func(b *testing.B) {
			var floor atomic.Int64
			parallel(b, n, func() { floor.Add(1) })
		})
		b.Run(name("sum"), func(b *testing.B) {
			w := benchClient(b, Options{}).Sum("x")
			parallel(b, n, func() { w.Add(1) })
		})
		b.Run(name("avg"), func(b *testing.B) {
			w := benchClient(b, Options{}).Avg("x")
			parallel(b, n, func() { w.Add(1) })
		})
		b.Run(name("max"), func(b *testing.B) {
			w := benchClient(b, Options{}).Max("x")
			parallel(b, n, func() { w.Add(1) })
		})
		b.Run(name("timer"), func(b *testing.B) {
			w := benchClient(b, Options{}).Timer("x")
			parallel(b, n, func() { w.Observe(time.Millisecond) })
		})
		b.Run(name("sum-by-name"), func(b *testing.B) {
			c := benchClient(b, Options{})
			parallel(b, n, func() { c.Sum("x").Add(1) })
		})
	}
}

// What a scope timer costs in a function that is called: "off" beside "defer" is the
// requirement, "defer" beside "call" is what Go takes for the statement.
func BenchmarkS1_47_ScopeTimer(b *testing.B) {
	off := benchClient(b, Options{}).Timer("x")
	on := benchClient(b, Options{ScopeTimers: true}).Timer("x")
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"call", call},
		{"defer", deferred},
		{"off", func() { scoped(off) }},
		{"on", func() { scoped(on) }},
		{"call-again", call},
		{"off-without-defer", func() { undeferred(off) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.run()
			}
		})
	}
}

// nothing is as much to defer as a Scope is.
type nothing struct{ timer *int }

func (n nothing) Stop() {
	if n.timer != nil {
		*n.timer = 1
	}
}

//go:noinline
func call() {}

//go:noinline
func deferred() { defer nothing{}.Stop() }

//go:noinline
func scoped(w *TimerWriter) { defer w.Start().Stop() }

//go:noinline
func undeferred(w *TimerWriter) { w.Start().Stop() }
