package rpc

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
)

// BenchmarkBlobs compares, in one run, a call to a worker process that hands over a blob with
// one that has next to no argument (control; they alternate, and medians are compared), and with
// one whose bytes go through sockets.
func BenchmarkBlobs(b *testing.B) {
	limits := blob.Limits{Memory: 8 << 30, PartyBytes: 4 << 30}
	blobs := isolatedRig(b, ServerOptions{Blobs: BlobOptions{Limits: limits}}, ClientOptions{})
	messages := isolatedRig(b, ServerOptions{Blobs: BlobOptions{Off: true}}, ClientOptions{BlobThreshold: -1})
	ctx := context.Background()
	small := printArgs{Format: "control"}
	for _, size := range []int{4 << 10, 1 << 20, 64 << 20, 1 << 30} {
		b.Run("handed over/"+sizeOf(size), func(b *testing.B) {
			buffer, err := blobs.AllocateBlob(ctx, uint64(size))
			if err != nil {
				b.Fatal(err)
			}
			defer buffer.Free()
			large := printArgs{Buffer: buffer.InOut()}
			var of, against []time.Duration
			for b.Loop() {
				against = append(against, timed(b, blobs, small, 0))
				of = append(of, timed(b, blobs, large, size))
			}
			slices.Sort(of)
			slices.Sort(against)
			b.ReportMetric(float64(of[len(of)/2].Microseconds()), "µs")
			b.ReportMetric(float64(of[len(of)/2])/float64(against[len(against)/2]), "controls")
		})
	}
	for _, size := range []int{LongBlob, 1 << 20, 32 << 20} {
		data := fill(size)
		for name, r := range map[string]*blobRig{"bytes by blob/": blobs, "bytes by socket/": messages} {
			b.Run(name+sizeOf(size), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					if n, err := Call[int](ctx, r, "length", data); err != nil || n != size {
						b.Fatal(n, err)
					}
				}
			})
		}
		b.Run("memcpy/"+sizeOf(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			to := make([]byte, size)
			for b.Loop() {
				copy(to, data)
			}
		})
	}
}

// timed makes a call, and returns how long that took.
func timed(b *testing.B, r *blobRig, a printArgs, want int) time.Duration {
	start := time.Now()
	if n, err := Call[int](context.Background(), r, "touch", a); err != nil || n != want {
		b.Fatal(n, err)
	}
	return time.Since(start)
}

func sizeOf(n int) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%dGiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%dMiB", n>>20)
	}
	return fmt.Sprintf("%dKiB", n>>10)
}
