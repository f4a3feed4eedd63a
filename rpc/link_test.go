package rpc

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// link is a network between a client and a server: whatever goes one way takes its time.
type link struct {
	t      testing.TB
	to     string // address of the server
	delay  time.Duration
	listen net.Listener

	mu     sync.Mutex
	ends   []net.Conn
	frames map[frame.Type]int // that have come from the client
	writes int                // pieces in which they came
	rounds int                // pieces that came after something had gone back
	heard  bool
	wait   sync.WaitGroup
}

// through makes a link to a server's Unix socket.
func through(t testing.TB, to string, delay time.Duration) (l *link, address string) {
	t.Helper()
	listen, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l = &link{t: t, to: to, delay: delay, listen: listen, frames: map[frame.Type]int{}}
	l.wait.Go(l.accept)
	t.Cleanup(func() {
		_ = listen.Close()
		l.cut()
		l.wait.Wait()
	})
	return l, listen.Addr().String()
}

func (l *link) accept() {
	for {
		near, err := l.listen.Accept()
		if err != nil {
			return
		}
		far, err := new(net.Dialer).DialContext(context.Background(), "unix", l.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		l.mu.Lock()
		l.ends = append(l.ends, near, far)
		l.mu.Unlock()
		count := &counter{l: l}
		l.wait.Go(func() { l.carry(near, far, count.up) })
		l.wait.Go(func() { l.carry(far, near, func([]byte) { l.down() }) })
	}
}

// carry brings bytes from one end to the other, in order and late.
func (l *link) carry(from, to net.Conn, seen func([]byte)) {
	type piece struct {
		b  []byte
		at time.Time
	}
	pieces := make(chan piece, 1024)
	l.wait.Go(func() {
		for p := range pieces {
			time.Sleep(time.Until(p.at))
			_, _ = to.Write(p.b)
		}
		_ = to.Close()
	})
	defer close(pieces)
	for {
		b := make([]byte, 64<<10)
		n, err := from.Read(b)
		if n > 0 {
			seen(b[:n])
			pieces <- piece{b[:n], time.Now().Add(l.delay)}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) down() {
	l.mu.Lock()
	l.heard = true
	l.mu.Unlock()
}

// cut ends all connections.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.ends {
		_ = c.Close()
	}
	l.ends = nil
}

// since returns what has been counted since it was asked last.
func (l *link) since() (frames map[frame.Type]int, writes, rounds int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	frames, writes, rounds = l.frames, l.writes, l.rounds
	l.frames, l.writes, l.rounds, l.heard = map[frame.Type]int{}, 0, 0, true
	return frames, writes, rounds
}

// counter takes a client's bytes apart.
type counter struct {
	l     *link
	b     []byte
	magic bool
}

func (c *counter) up(b []byte) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.b = append(c.b, b...)
	if !c.magic && len(c.b) >= len(frame.Magic) {
		c.b, c.magic = c.b[len(frame.Magic):], true
	}
	calls := 0
	for c.magic && len(c.b) >= frame.HeaderLen {
		n := frame.HeaderLen + int(binary.LittleEndian.Uint32(c.b))
		if len(c.b) < n {
			break
		}
		kind := frame.Type(c.b[4])
		c.l.frames[kind]++
		if kind == frame.TypeCall {
			calls++
		}
		c.b = c.b[n:]
	}
	if calls == 0 {
		return
	}
	c.l.writes++
	if c.l.heard {
		c.l.rounds++
		c.l.heard = false
	}
}
