package workers_test

import (
	"fmt"
	"testing"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
)

// BenchmarkIsolation calls the same methods through the same client and server: in the
// server's process, and in a worker. Both take turns, so that what else the machine
// does hits both; the ratio is what isolation costs.
func BenchmarkIsolation(b *testing.B) {
	for _, size := range []int{64, 64 << 10} {
		for _, method := range []string{"echo", "echo!"} {
			b.Run(fmt.Sprintf("%s/%d", method, size), func(b *testing.B) {
				here := newRig(b, setting{local: true})
				there := newRig(b, setting{workers: workers.Options{Concurrency: 8, Spares: -1}})
				there.works()
				var took [2]time.Duration
				calls := [2]client.Call{}
				for i := range calls {
					calls[i] = client.Call{Method: method, Args: make([]byte, size), Reply: make([]byte, 0, size)}
				}
				const turn = 200
				b.ReportAllocs()
				for b.Loop() {
					for i, r := range []*rig{here, there} {
						start := time.Now()
						for range turn {
							r.client.Do(b.Context(), &calls[i])
						}
						took[i] += time.Since(start)
					}
				}
				for _, u := range calls {
					if u.Outcome.Code != session.OK {
						b.Fatalf("%+v: %s", u.Outcome, u.Text)
					}
				}
				n := float64(b.N * turn)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(took[0].Nanoseconds())/n, "ns/call-here")
				b.ReportMetric(float64(took[1].Nanoseconds())/n, "ns/call-isolated")
				b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
			})
		}
	}
}
