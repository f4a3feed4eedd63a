package rpc

import (
	"testing"
	"time"
)

// A chain of four calls, against the same calls one after the other: over a socket, and
// over a network that takes 2 ms each way.
func BenchmarkFourCalls(b *testing.B) {
	for name, delay := range map[string]time.Duration{"socket": 0, "2ms": 2 * time.Millisecond} {
		_, where := serve(b, ServerOptions{})
		address := "unix:" + where
		if delay > 0 {
			_, address = through(b, where, delay)
		}
		c := dial(b, ClientOptions{}, address)
		ctx := b.Context()
		b.Run(name+"/chain", func(b *testing.B) {
			for b.Loop() {
				if _, err := row(ctx, c, "x")[3].Get(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/batch", func(b *testing.B) {
			for b.Loop() {
				batch := NewBatch(c)
				all := row(ctx, batch, "x")
				batch.Send()
				if _, err := all[3].Get(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/sequence", func(b *testing.B) {
			for b.Loop() {
				a := "x"
				for _, method := range []string{"Upload", "Load", "Run", "Fetch"} {
					var err error
					if a, err = Call[string](ctx, c, method, a); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
