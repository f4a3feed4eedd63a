package tracker

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"rpcpool.dev/rpc/frame"
)

// errNative says that a client does not want the tracker, but what shares its port.
var errNative = errors.New("speaks the native protocol")

// foreign is the reason why the first bytes of a connection are not a tracker's client's.
// Whether there is TLS where it is to be, or none, the handler of native clients finds out,
// and says.
func (c *conn) foreign(first []byte, why error) error {
	begins := func(magic string) bool { return strings.HasPrefix(string(first), magic[:min(len(magic), len(first))]) }
	if c.server.options.Native != nil && (begins(frame.Magic) || begins(tlsMagic)) {
		return errNative
	}
	return reject(rejectBadMagic, why)
}

// tlsMagic begins TLS: a record of its handshake, of whatever version.
const tlsMagic = "\x16\x03"

// giveAway gives the connection, and what has been read from it, to the handler of
// native clients. It counts among the open ones until that closes it.
func (c *conn) giveAway() {
	first := append([]byte(nil), c.in.bytes()[:c.in.end]...)
	c.in.drop()
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		c.out.close(err)
		c.end()
		return
	}
	var nc net.Conn = &given{Conn: c.nc, first: first, closed: func() { c.server.forget(c) }}
	if t := c.server.options.NativeTLS; t != nil {
		nc = tls.Server(nc, t)
	}
	c.server.options.Native(nc)
}

// given is a connection whose first bytes have been read. It is no syscall.Conn: nobody
// shall read past them.
type given struct {
	net.Conn
	first  []byte
	once   sync.Once
	closed func()
}

// Read reads the first bytes first.
func (g *given) Read(p []byte) (int, error) {
	if len(g.first) > 0 {
		n := copy(p, g.first)
		g.first = g.first[n:]
		return n, nil
	}
	return g.Conn.Read(p)
}

// Close also tells the server.
func (g *given) Close() error {
	err := g.Conn.Close()
	g.once.Do(g.closed)
	return err
}
