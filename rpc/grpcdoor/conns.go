package grpcdoor

import (
	"net"
	"sync"
	"sync/atomic"
)

// counter counts connections, and closes those beyond a number at once.
type counter struct {
	net.Listener

	open *atomic.Int64
	most int64
}

// Accept implements [net.Listener].
func (l *counter) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // a net.Listener's own
		}
		if l.open.Add(1) <= l.most {
			return &counted{Conn: c, open: l.open}, nil
		}
		l.open.Add(-1)
		_ = c.Close()
	}
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn

	open *atomic.Int64
	once sync.Once
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close() //nolint:wrapcheck // a net.Conn's own
}

// Conns returns how many clients are connected.
func (d *Door) Conns() int { return int(d.conns.Load()) }
