package tcp

import (
	"fmt"
	"net"
	"syscall"
	"time"
)

// Bounds of dead-peer detection: an idle connection is probed after
// [KeepAliveIdle], then every [KeepAliveInterval], and given up after
// [KeepAliveCount] silent probes; unacknowledged data is given up after
// [DeadPeerAfter].
const (
	KeepAliveIdle     = 10 * time.Second
	KeepAliveInterval = 5 * time.Second
	KeepAliveCount    = 2
	DeadPeerAfter     = KeepAliveIdle + KeepAliveCount*KeepAliveInterval
)

// KeepAlive is how a connection finds out that its peer has vanished: an idle one is
// probed after Idle, then every Interval, and given up after Count silent probes;
// unacknowledged data is given up after as long.
type KeepAlive struct {
	Idle, Interval time.Duration
	Count          int
}

// Tune sets TCP_NODELAY, keepalive and TCP_USER_TIMEOUT on c, by the bounds above.
func Tune(c *net.TCPConn) error {
	return KeepAlive{KeepAliveIdle, KeepAliveInterval, KeepAliveCount}.Tune(c)
}

// Tune is [Tune] with other bounds.
func (k KeepAlive) Tune(c *net.TCPConn) error {
	if err := c.SetNoDelay(true); err != nil {
		return fmt.Errorf("set TCP_NODELAY: %w", err)
	}
	err := c.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable:   true,
		Idle:     k.Idle,
		Interval: k.Interval,
		Count:    k.Count,
	})
	if err != nil {
		return fmt.Errorf("set keepalive: %w", err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("raw connection: %w", err)
	}
	if err := setUserTimeout(raw, k.Idle+time.Duration(k.Count)*k.Interval); err != nil {
		return fmt.Errorf("set TCP_USER_TIMEOUT: %w", err)
	}
	return nil
}

// Conn is a TCP connection that acknowledges at once.
type Conn struct {
	*net.TCPConn
	raw syscall.RawConn
}

// NewConn tunes c (see [Tune]) and wraps it. The connection works even where
// an option is refused, so such errors are not reported: an option that the
// platform lacks costs latency, not correctness.
func NewConn(c *net.TCPConn) *Conn {
	_ = Tune(c)
	raw, err := c.SyscallConn()
	if err != nil {
		return &Conn{TCPConn: c}
	}
	quickAck(raw)
	return &Conn{TCPConn: c, raw: raw}
}

// Read reads once and re-arms TCP_QUICKACK, so that the segment which the peer
// is still holding back for our ACK comes at once.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if err == nil && c.raw != nil {
		quickAck(c.raw)
	}
	return n, err //nolint:wrapcheck // a Conn is a net.Conn: callers compare io.EOF
}
