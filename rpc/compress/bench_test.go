package compress

import (
	"fmt"
	"testing"
)

// BenchmarkCompress and BenchmarkDecompress say how fast each compressor is, and
// how short bodies become (ratio). The floor is a copy.
func BenchmarkCompress(b *testing.B) {
	c := New(Options{})
	for _, n := range []int{1 << 10, 64 << 10, 1 << 20} {
		for name, plain := range map[string][]byte{"text": text(n), "noise": noise(n)} {
			for _, id := range both {
				b.Run(fmt.Sprintf("%v/%s/%dKiB", id, name, n>>10), func(b *testing.B) {
					dst := make([]byte, 0, 2*n+1024)
					b.SetBytes(int64(n))
					b.ReportAllocs()
					ratio := 1.
					for b.Loop() {
						if out, ok := c.Append(dst, id, plain); ok {
							ratio = float64(len(out)) / float64(n)
						}
					}
					b.ReportMetric(ratio, "ratio")
				})
			}
		}
		b.Run(fmt.Sprintf("floor-copy/%dKiB", n>>10), func(b *testing.B) {
			dst, plain := make([]byte, 0, n), text(n)
			b.SetBytes(int64(n))
			for b.Loop() {
				dst = append(dst[:0], plain...)
			}
		})
	}
}

func BenchmarkDecompress(b *testing.B) {
	c := New(Options{})
	for _, n := range []int{1 << 10, 64 << 10, 1 << 20} {
		for _, id := range both {
			b.Run(fmt.Sprintf("%v/text/%dKiB", id, n>>10), func(b *testing.B) {
				body, ok := c.Append(nil, id, text(n))
				if !ok {
					b.Fatal("text did not become shorter")
				}
				dst := make([]byte, 0, n)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Decode(dst, id, body, uint64(n)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkWant is what a message costs that is not compressed.
func BenchmarkWant(b *testing.B) {
	var a Adaptive
	a.Compressed(MinLen, MinLen, 1)
	a.Compressed(MinLen, MinLen, 1)
	b.ReportAllocs()
	for b.Loop() {
		a.Want(64 << 10)
	}
}
