package plan

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkNext plans for a pool at rest, with a tenth too many, and of an old
// revision.
func BenchmarkNext(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		all := pods(n)
		for i := range all {
			all[i].Created = start.Add(-time.Duration(i*7919%n) * time.Second)
			if i%2 == 0 {
				busy(&all[i])
			}
		}
		for _, tc := range []struct {
			what     string
			replicas int
			revision string
		}{{"rest", n, current}, {"scale-down", n * 9 / 10, current}, {"rollout", n, "newer"}} {
			b.Run(fmt.Sprintf("%s/pods=%d", tc.what, n), func(b *testing.B) {
				in := aPool(tc.replicas, all)
				in.Revision = tc.revision
				b.ReportAllocs()
				for b.Loop() {
					Next(in)
				}
			})
		}
	}
}
