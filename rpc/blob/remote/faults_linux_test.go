package remote

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

type dialing = func(context.Context) (net.Conn, error)

// counter counts what a client sends, and by how many connections.
type counter struct{ sent, got, dials atomic.Int64 }

func (c *counter) around(dial dialing) dialing {
	return func(ctx context.Context) (net.Conn, error) {
		nc, err := dial(ctx)
		c.dials.Add(1)
		return counted{nc, c}, err
	}
}

type counted struct {
	net.Conn

	of *counter
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.of.sent.Add(int64(n))
	return n, err
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.of.got.Add(int64(n))
	return n, err
}

// cutter cuts connections after so many bytes of one direction: the first one after the
// first number, and so on; those for which there is none live on.
type cutter struct {
	mu    sync.Mutex
	after []int
	reads bool // of what comes, not of what goes
	cuts  int
	spoil int // of the bytes that go over the first connection this one is changed; 0: none
}

func (c *cutter) around(dial dialing) dialing {
	return func(ctx context.Context) (net.Conn, error) {
		nc, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		cut := &cutConn{Conn: nc, of: c, left: -1, spoil: c.spoil}
		c.spoil = 0
		if len(c.after) > 0 {
			cut.left, c.after = c.after[0], c.after[1:]
		}
		return cut, nil
	}
}

type cutConn struct {
	net.Conn

	of    *cutter
	left  int // bytes; -1: for ever
	at    int
	spoil int
}

var errCut = errors.New("the test cuts the connection")

// allow tells how many of n bytes pass.
func (c *cutConn) allow(n int, reads bool) (int, error) {
	if c.left < 0 || reads != c.of.reads {
		return n, nil
	}
	if c.left == 0 {
		c.of.mu.Lock()
		c.of.cuts++
		c.of.mu.Unlock()
		_ = c.Close()
		return 0, errCut
	}
	n = min(n, c.left)
	c.left -= n
	return n, nil
}

func (c *cutConn) Write(b []byte) (done int, err error) {
	for done < len(b) {
		n, err := c.allow(len(b)-done, false)
		if err != nil {
			return done, err
		}
		piece := b[done : done+n]
		if i := c.spoil - c.at; c.spoil > 0 && i >= 0 && i < n {
			piece = append([]byte(nil), piece...)
			piece[i] ^= 1
		}
		n, err = c.Conn.Write(piece)
		c.at += n
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.allow(len(b), true)
	if err != nil {
		return 0, err
	}
	return c.Conn.Read(b[:n]) // what was allowed and has not come is not given back: the cut comes earlier
}

// every is one cut at each multiple of step, up to most.
func every(t *testing.T, step, most int, do func(t *testing.T, at int)) {
	t.Helper()
	for at := 1; at < most; at += step {
		do(t, at)
		if t.Failed() {
			t.Fatalf("cut after %d bytes", at)
		}
	}
}
