package client

import (
	"fmt"
	"sync/atomic"
	"testing"

	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

func BenchmarkCall(b *testing.B) {
	for _, callers := range []int{1, 64} {
		for _, method := range []string{"echo", "echo!"} {
			b.Run(fmt.Sprintf("%s/callers=%d", method, callers), func(b *testing.B) {
				r := newRig(b, server.Options{})
				c := r.client(Options{})
				b.ReportAllocs()
				if callers == 1 {
					u := Call{Method: method, Args: make([]byte, 64)}
					for b.Loop() {
						c.Do(b.Context(), &u)
					}
					if u.Outcome.Code != session.OK {
						b.Fatal(u.Outcome)
					}
					return
				}
				var bad atomic.Int64
				b.SetParallelism(callers / 2)
				b.RunParallel(func(pb *testing.PB) {
					u := Call{Method: method, Args: make([]byte, 64)}
					for pb.Next() {
						c.Do(b.Context(), &u)
						if u.Outcome.Code != session.OK {
							bad.Add(1)
						}
					}
				})
				if bad.Load() > 0 {
					b.Fatal(bad.Load())
				}
			})
		}
	}
}
