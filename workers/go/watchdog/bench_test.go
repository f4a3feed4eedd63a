package watchdog

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkSession is what a watchdog costs a session: one Start and one Stop.
func BenchmarkSession(b *testing.B) {
	w, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Start(time.Hour); err != nil {
			b.Fatal(err)
		}
		w.Stop()
	}
}

// BenchmarkLateness is the time from the deadline until the parent knows that
// the process has ended. Its floor is how late a thread comes back from a
// system call that waits for a time to pass.
func BenchmarkLateness(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		report(b, func() time.Duration {
			const wait = 20 * time.Millisecond
			began := time.Now()
			pause(wait)
			return time.Since(began) - wait
		})
	})
	for _, name := range []string{"is idle", "computes in Go", "computes in C", "stopped the world"} {
		b.Run("of a program that "+name, func(b *testing.B) {
			report(b, func() time.Duration { return run(b, name).late })
		})
	}
}

func report(b *testing.B, measure func() time.Duration) {
	var late []time.Duration
	for range b.N {
		late = append(late, measure())
	}
	slices.Sort(late)
	b.ReportMetric(0, "ns/op") // the waiting is not of interest
	b.ReportMetric(float64(late[len(late)/2]), "p50-ns")
	b.ReportMetric(float64(late[len(late)*99/100]), "p99-ns")
}
