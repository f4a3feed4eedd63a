package conn

import (
	"io"
	"net"
	"sync"
	"testing"
)

// dribble is a socket that takes and gives a few bytes at a time. It has no
// descriptor, so every write may wait.
type dribble struct {
	net.Conn
	n int
}

func (d dribble) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = d.Conn.Write(p[n:min(n+d.n, len(p))])
		n += m
	}
	return n, err
}

func (d dribble) Read(p []byte) (int, error) { return d.Conn.Read(p[:min(len(p), d.n)]) }

// narrow makes the kernel's buffers small, so that writes stall: as small as they
// get for a Unix socket; TCP would wait for timers then.
func narrow(t testing.TB, conns ...net.Conn) {
	t.Helper()
	for _, nc := range conns {
		c, ok := nc.(interface {
			SetReadBuffer(int) error
			SetWriteBuffer(int) error
		})
		size := 1
		if _, tcp := nc.(*net.TCPConn); tcp {
			size = 64 << 10
		}
		if !ok || c.SetReadBuffer(size) != nil || c.SetWriteBuffer(size) != nil {
			t.Fatal("buffers cannot be made small")
		}
	}
}

// cutter is a proxy that cuts both directions after so many bytes of one. It
// counts what it passes on.
type cutter struct {
	after  int  // bytes
	answer bool // of answers, not of calls
	mu     sync.Mutex
	passed [2]int
}

// start returns the sockets for both sides.
func (p *cutter) start(t testing.TB, network string) (client, server net.Conn) {
	client, a := sockets(t, network)
	b, server := sockets(t, network)
	var once sync.Once
	var both sync.WaitGroup
	cut := func() { once.Do(func() { a.Close(); b.Close() }) }
	for i, dir := range [2][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			defer cut()
			if (i == 1) == p.answer {
				n, _ := io.CopyN(dir[1], dir[0], int64(p.after))
				p.mu.Lock()
				p.passed[i] = int(n)
				p.mu.Unlock()
				return
			}
			_, _ = io.Copy(dir[1], dir[0])
		})
	}
	t.Cleanup(func() {
		cut()
		both.Wait()
	})
	return client, server
}
