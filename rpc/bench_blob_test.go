package rpc

import (
	"context"
	"fmt"
	"testing"

	"rpcpool.dev/rpc/blob"
)

// BenchmarkBlobs compares, in one run, a call to a worker process that hands over a blob with
// one that has next to no argument (control), and with one whose bytes go through sockets.
func BenchmarkBlobs(b *testing.B) {
	limits := blob.Limits{Memory: 8 << 30, PartyBytes: 4 << 30}
	blobs := isolatedRig(b, ServerOptions{Blobs: BlobOptions{Limits: limits}}, ClientOptions{})
	messages := isolatedRig(b, ServerOptions{Blobs: BlobOptions{Off: true}}, ClientOptions{BlobThreshold: -1})
	ctx := context.Background()
	b.Run("control", func(b *testing.B) {
		for b.Loop() {
			if _, err := Call[int](ctx, blobs, "touch", printArgs{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, size := range []int{4 << 10, 1 << 20, 64 << 20, 1 << 30} {
		b.Run("handed over/"+sizeOf(size), func(b *testing.B) {
			buffer, err := blobs.AllocateBlob(ctx, uint64(size))
			if err != nil {
				b.Fatal(err)
			}
			defer buffer.Free() //nolint:errcheck // the benchmark is over
			arg := printArgs{Buffer: buffer.InOut()}
			for b.Loop() {
				if n, err := Call[int](ctx, blobs, "touch", arg); err != nil || n != size {
					b.Fatal(n, err)
				}
			}
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

func sizeOf(n int) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%dGiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%dMiB", n>>20)
	}
	return fmt.Sprintf("%dKiB", n>>10)
}
