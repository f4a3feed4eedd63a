package grpcdoor

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/peer"

	"rpcpool.dev/rpc/server"
)

// counter counts connections, and closes those beyond a number at once.
type counter struct {
	net.Listener

	door *Door
	most int64
}

// Accept implements [net.Listener].
func (l *counter) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // a net.Listener's own
		}
		if l.door.conns.Add(1) <= l.most {
			return l.door.count(c), nil
		}
		l.door.conns.Add(-1)
		_ = c.Close()
	}
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn

	open *atomic.Int64
	once sync.Once
	debt *server.Debt

	mu   sync.Mutex
	owes map[*owed]struct{} // answers that are on their way; nil: it is closed
}

func (d *Door) count(c net.Conn) *counted {
	k := &counted{Conn: c, open: &d.conns, owes: map[*owed]struct{}{}}
	k.debt = d.core.Watch(func() { go k.Close() }) //nolint:errcheck // it is over
	return k
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	c.once.Do(func() {
		c.open.Add(-1)
		c.debt.Close()
		c.mu.Lock()
		left := c.owes
		c.owes = nil
		c.mu.Unlock()
		for o := range left {
			o.result.Abandon()
		}
	})
	return c.Conn.Close() //nolint:wrapcheck // a net.Conn's own
}

// RemoteAddr implements [net.Conn]: it is by its client's address that an RPC knows its connection.
func (c *counted) RemoteAddr() net.Addr { return &address{c.Conn.RemoteAddr(), c} }

// address is a client's.
type address struct {
	net.Addr

	conn *counted
}

// clientOf returns the connection by which an RPC has come, nil if it has come by none.
func clientOf(ctx context.Context) *counted {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	a, ok := p.Addr.(*address)
	if !ok {
		return nil
	}
	return a.conn
}

// Conns returns how many clients are connected.
func (d *Door) Conns() int { return int(d.conns.Load()) }
