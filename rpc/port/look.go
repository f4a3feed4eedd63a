package port

import (
	"crypto/tls"
	"fmt"
	"net"
	"syscall"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

var errUnknown = refuse(conn.RefusedProtocol, "it speaks none of the protocols")

// look finds out what a client speaks. It returns the connection as it was.
func look(c net.Conn) (net.Conn, frame.Protocol, error) {
	if s, ok := c.(syscall.Conn); ok && canPeek {
		protocol, err := peek(s)
		return c, protocol, err
	}
	first := make([]byte, 0, frame.SniffLen)
	for {
		n, err := c.Read(first[len(first):frame.SniffLen])
		first = first[:len(first)+n]
		protocol, more := frame.Sniff(first)
		switch {
		case protocol != frame.ProtocolUnknown:
			return replay(c, first), protocol, nil
		case !more:
			return nil, 0, errUnknown
		case err != nil:
			return nil, 0, fmt.Errorf("after %d bytes: %w", len(first), err)
		}
	}
}

// replay returns a connection from which first is read before the rest.
func replay(c net.Conn, first []byte) net.Conn {
	r := &replayed{c, first}
	if t, ok := c.(*tls.Conn); ok {
		return &secured{t, r}
	}
	return r
}

type replayed struct {
	net.Conn

	first []byte
}

// Read implements [net.Conn].
func (c *replayed) Read(b []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b) //nolint:wrapcheck // a net.Conn's own
}

// secured is replayed, of which is known who the client is.
type secured struct {
	*tls.Conn

	all *replayed
}

// Read implements [net.Conn].
func (c *secured) Read(b []byte) (int, error) { return c.all.Read(b) }
