package conn

import (
	"io"
	"sync/atomic"
	"testing"

	"rpcpool.dev/rpc/frame"
)

// quick is a caller that allocates nothing.
type quick struct {
	waiting []chan struct{}
}

func (q *quick) Message(_ Peer, in *In) {
	if in.Type == frame.TypeReply {
		q.waiting[in.Seq%uint64(len(q.waiting))] <- struct{}{}
	}
}

func (*quick) Closed(Peer, error, []uint64) {}

func BenchmarkEcho64(b *testing.B) {
	b.Run("raw", func(b *testing.B) {
		x, y := sockets(b, "unix")
		go func() {
			_, _ = io.CopyBuffer(struct{ io.Writer }{y}, struct{ io.Reader }{y}, make([]byte, 64))
			y.Close()
		}()
		buf := make([]byte, 64)
		for b.Loop() {
			_, _ = x.Write(buf)
			_, _ = io.ReadFull(x, buf)
		}
		x.Close()
	})
	for _, callers := range []int{1, 8, 64} {
		b.Run("callers="+string(rune('0'+callers/10))+string(rune('0'+callers%10)), func(b *testing.B) {
			x, y := sockets(b, "unix")
			q := &quick{}
			for range callers {
				q.waiting = append(q.waiting, make(chan struct{}, 1))
			}
			c, _ := join(b, x, y, q, &echo{}, Options{})
			var id atomic.Uint64
			body := make([]byte, 64)
			b.ReportAllocs()
			b.SetParallelism((callers + 1) / 2)
			call := func(m *Message, n uint64) {
				m.Seq += uint64(callers)
				_ = c.Send(b.Context(), m)
				<-q.waiting[n]
			}
			if callers == 1 {
				m := &Message{Header: frame.Header{Type: frame.TypeCall, Priority: 2}, Body: body}
				for b.Loop() {
					call(m, 0)
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				n := id.Add(1) - 1
				m := &Message{Header: frame.Header{Type: frame.TypeCall, Priority: 2, Seq: n}, Body: body}
				for pb.Next() {
					call(m, n)
				}
			})
		})
	}
}
