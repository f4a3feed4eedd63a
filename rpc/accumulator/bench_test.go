package accumulator

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
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
		name  string
		run   func(*TimerWriter)
		timer *TimerWriter
	}{
		{"call", called, off},
		{"defer", deferred, off},
		{"off", scoped, off},
		{"off-without-defer", undeferred, off},
		{"on", scoped, on},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.run(c.timer)
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
func called(*TimerWriter) {}

//go:noinline
func deferred(*TimerWriter) { defer nothing{}.Stop() }

//go:noinline
func scoped(w *TimerWriter) { defer w.Start().Stop() }

//go:noinline
func undeferred(w *TimerWriter) { w.Start().Stop() }

// How long a write takes while the server does not answer: what may be seen of it
// beside that the machine is busy elsewhere is the median and the tail up to there.
func BenchmarkS1_45_WriteWhileTheServerIsBlocked(b *testing.B) {
	p := newBlocked()
	c := NewClient(p, Options{})
	w := c.Sum("x")
	for range 1024 {
		w.Add(1)
	}
	<-p.called
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		start := time.Now()
		w.Add(1)
		took = append(took, time.Since(start))
	}
	close(p.release)
	c.Close(b.Context())
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
	b.ReportMetric(float64(took[len(took)-1-len(took)/10000]), "p99.99-ns")
	b.ReportMetric(float64(took[len(took)-1]), "max-ns")
}

// What a server can merge: batches of 100 accumulators.
func BenchmarkServerPush(b *testing.B) {
	b.ReportAllocs()
	s, err := NewServer(ServerOptions{})
	if err != nil {
		b.Fatal(err)
	}
	one := newBatch(ID{1}, 1)
	for i := range 100 {
		one.add(entryOf(fmt.Sprint("requests", i), TypeSum, &Sum{wideOf(int64(i))}, Label{"zone", "a"}))
	}
	number := uint64(0)
	for b.Loop() {
		number++
		binary.LittleEndian.PutUint64(one.bytes[atNumber:], number)
		if err := s.Push(b.Context(), one.bytes); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(one.bytes)), "bytes/batch")
}
