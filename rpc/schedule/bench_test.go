package schedule

import (
	"fmt"
	"testing"
	"time"
)

// The floor: calls in a ring, first come, first served, with nobody's rights kept.
func BenchmarkFloorRing(b *testing.B) {
	for _, depth := range []int{1, 64, 10_000} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			b.ReportAllocs()
			ring := make([]*Call, 1<<14)
			calls := make([]Call, depth)
			head, tail := 0, 0
			for i := range calls[1:] {
				ring[tail&(1<<14-1)] = &calls[i+1]
				tail++
			}
			c := &calls[0]
			for b.Loop() {
				ring[tail&(1<<14-1)] = c
				tail++
				c = ring[head&(1<<14-1)]
				head++
			}
		})
	}
}

// One call comes, one is started and ends, while so many wait.
func BenchmarkQueue(b *testing.B) {
	for _, depth := range []int{1, 64, 10_000} {
		for _, clients := range []int{1, 100} {
			for _, bound := range []int{0, 4} {
				b.Run(fmt.Sprintf("depth=%d/clients=%d/bound=%d", depth, clients, bound), func(b *testing.B) {
					b.ReportAllocs()
					run(b, depth, clients, MethodOptions{Concurrency: bound})
				})
			}
		}
	}
}

func run(b *testing.B, depth, clients int, opt MethodOptions) {
	q := New(Options{Limit: 4, Queue: 1 << 20, Standing: -1})
	q.Method(7, opt)
	calls := make([]Call, depth)
	for i := range calls {
		calls[i] = Call{Method: 7, Client: [16]byte{byte(i % clients)}, Priority: Priority(1 + i/clients%3)}
		calls[i].Deadline = 1 << 62
		if i > 0 {
			q.Push(0, &calls[i])
		}
	}
	c := &calls[0]
	for now := time.Duration(0); b.Loop(); now += 1000 {
		if q.Push(now, c).Reason != Queued {
			b.Fatal("a call was refused")
		}
		if c = q.Pop(now); c == nil {
			b.Fatal("nothing to run")
		}
		q.Done(now+1000, c)
	}
}

// A call that is made for another one that runs.
func BenchmarkInner(b *testing.B) {
	b.ReportAllocs()
	q := New(Options{})
	outer, c := new(Call), new(Call)
	q.Push(0, outer)
	q.Pop(0)
	for now := time.Duration(0); b.Loop(); now += 1000 {
		c.Under = outer
		q.Push(now, c)
		q.Done(now+1000, q.Pop(now))
	}
}
