package remote

import (
	"context"
	"net"
	"sync/atomic"
)

// counter counts what a client sends, and by how many connections.
type counter struct{ sent, dials atomic.Int64 }

func (c *counter) around(dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
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
