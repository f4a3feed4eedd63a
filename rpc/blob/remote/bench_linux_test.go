package remote

import (
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

func sizes() []int { return []int{64 << 10, 256 << 10, 1 << 20, 16 << 20, 256 << 20} }

func named(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%dMiB", n>>20)
	}
	return fmt.Sprintf("%dKiB", n>>10)
}

// BenchmarkBytes moves bytes over loopback: as blobs, both ways, and in the same run as raw
// TCP, whose receiver says when it has all.
func BenchmarkBytes(b *testing.B) {
	r := serve(b)
	for _, size := range sizes() {
		buf := make([]byte, size)
		b.Run("raw/"+named(size), func(b *testing.B) { raw(b, buf) })
		for _, streams := range []int{1, 2} {
			c := r.client(b, func(o *Options) { o.Streams = streams })
			whole, err := c.Put(b.Context(), buf, blob.Read)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("put/%s/streams=%d", named(size), streams), func(b *testing.B) {
				costs(b, size, func() error { return whole.Write(b.Context(), buf, 0) })
			})
			b.Run(fmt.Sprintf("put-new/%s/streams=%d", named(size), streams), func(b *testing.B) {
				costs(b, size, func() error {
					have, err := c.Put(b.Context(), buf, blob.Read)
					if err != nil {
						return err
					}
					return have.Free(b.Context())
				})
			})
			b.Run(fmt.Sprintf("get/%s/streams=%d", named(size), streams), func(b *testing.B) {
				costs(b, size, func() error { return whole.Read(b.Context(), buf, 0) })
			})
			_ = c.Close()
		}
	}
}

// costs is a benchmark's loop. Besides the time it says how much CPU both sides have used, which
// others who use the machine change little.
func costs(b *testing.B, size int, do func() error) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if err := do(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "cpu-us/op")
}

// cpu is what this process has used, ns.
func cpu(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// raw sends bytes from memory to memory, and waits for a byte.
func raw(b *testing.B, buf []byte) {
	send, stop := rawPair(b, len(buf))
	defer stop()
	costs(b, len(buf), func() error { return send(buf) })
}

// rawPair is a socket to somebody who reads so many bytes, and answers with one.
func rawPair(t testing.TB, n int) (send func([]byte) error, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		into := make([]byte, n)
		for {
			if _, err := io.ReadFull(there, into); err != nil {
				return
			}
			_, _ = there.Write(into[:1])
		}
	}()
	one := make([]byte, 1)
	return func(b []byte) error {
			if _, err := nc.Write(b); err != nil {
				return err
			}
			_, err := io.ReadFull(nc, one)
			return err
		}, func() {
			_ = nc.Close()
			<-done
			_ = there.Close()
		}
}

// pinger calls with 64 bytes, one at a time, over a connection of calls.
type pinger struct {
	*conn.Conn

	back chan struct{}
	seq  uint64
}

func (p *pinger) Message(_ conn.Peer, in *conn.In) {
	if in.Type == frame.TypeReply {
		p.back <- struct{}{}
	}
}

func (*pinger) Closed(conn.Peer, error, []uint64) {}

// echo answers.
type echo struct{}

func (echo) Message(p conn.Peer, in *conn.In) {
	if in.Type == frame.TypeCall {
		_ = p.Queue(&conn.Message{Header: frame.Header{Type: frame.TypeReply, Priority: in.Priority, Seq: in.Seq}, Body: in.Body})
	}
}

func (echo) Closed(conn.Peer, error, []uint64) {}

func (r *rig) pinger(t testing.TB) *pinger {
	t.Helper()
	nc, err := r.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := &pinger{back: make(chan struct{}, 1)}
	if p.Conn, err = conn.Connect(t.Context(), nc, frame.Hello{Token: []byte(token)}, p, conn.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Close()
		<-p.Done()
	})
	return p
}

// p99 is that of n calls, with a pause between them.
func (p *pinger) p99(t testing.TB, n int) time.Duration {
	t.Helper()
	took := make([]time.Duration, n)
	body := make([]byte, 64)
	for i := range took {
		p.seq++
		begin := time.Now()
		m := &conn.Message{Header: frame.Header{Type: frame.TypeCall, Priority: frame.PriorityInteractive, Seq: p.seq}, Ext: frame.Ext{Method: 1}, Body: body}
		if err := p.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		<-p.back
		took[i] = time.Since(begin)
		time.Sleep(200 * time.Microsecond) // callers think
	}
	slices.Sort(took)
	return took[n*99/100]
}

// BenchmarkS2_16_SmallCallsBesideBulk is the p99 of small calls while bytes go the same way
// without end, as a multiple of what it is when nothing else happens, in turns: by blobs, and
// by a raw socket.
func BenchmarkS2_16_SmallCallsBesideBulk(b *testing.B) {
	const calls = 500
	r := serve(b, func(s *setting) { s.conns.Handler = echo{} })
	p := r.pinger(b)
	c := r.client(b)
	buf := make([]byte, 16<<20)
	whole, err := c.Put(b.Context(), buf, blob.Read)
	if err != nil {
		b.Fatal(err)
	}
	send, stopRaw := rawPair(b, len(buf))
	defer stopRaw()
	for _, way := range []struct {
		name string
		move func() error
	}{
		{"raw", func() error { return send(buf) }},
		{"put", func() error { return whole.Write(b.Context(), buf, 0) }},
		{"get", func() error { return whole.Read(b.Context(), buf, 0) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			var idle, busy, took time.Duration
			moved := 0
			for b.Loop() {
				idle += p.p99(b, calls)
				stop, stopped := make(chan struct{}), make(chan error)
				go func() {
					var err error
					for err == nil {
						select {
						case <-stop:
							stopped <- nil
							return
						default:
						}
						err = way.move()
						moved += len(buf)
					}
					stopped <- err
				}()
				begin := time.Now()
				busy += p.p99(b, calls)
				close(stop)
				if err := <-stopped; err != nil {
					b.Fatal(err)
				}
				took += time.Since(begin)
			}
			b.ReportMetric(float64(idle.Microseconds())/float64(b.N), "idle-p99-us")
			b.ReportMetric(float64(busy.Microseconds())/float64(b.N), "busy-p99-us")
			b.ReportMetric(float64(busy)/float64(idle), "ratio")
			b.ReportMetric(float64(moved)/1e6/took.Seconds(), "MB/s")
		})
	}
}
