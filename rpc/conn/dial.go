package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"rpcpool.dev/internal/tcp"
)

// Dial makes a socket; net.Dialer's DialContext, mostly. A [net.UnixConn] or [net.TCPConn] is the
// connection's from then on, in another form ([socket.Take]): to close it does nothing any more. What wraps one is used as it is.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// unsentMark is how much the kernel takes before it has sent it: what is in the
// kernel's queue cannot be overtaken any more.
const unsentMark = 128 << 10

// unixBuffer is what is asked for the send buffer of a Unix socket, in bytes; the
// kernel doubles it. Its default makes a writer of long messages wait, and both
// sides wake each other up, every 100 KiB.
const unixBuffer = 512 << 10

// tightBuffer is what it is while short messages must pass long ones: what is in the
// kernel cannot be passed.
const tightBuffer = 64 << 10

// Tune is [TCP.Tune] with the defaults.
func Tune(nc net.Conn) { TCP{}.Tune(nc) }

// Tune sets the options of a connection's socket. An option that is refused
// costs speed, not correctness.
func (t TCP) Tune(nc net.Conn) {
	switch c := nc.(type) {
	case interface{ NetConn() net.Conn }: // TLS
		t.Tune(c.NetConn())
	case *net.UnixConn:
		_ = c.SetWriteBuffer(unixBuffer)
	case *net.TCPConn:
		t.setDefaults()
		_ = tcp.KeepAlive{Idle: t.KeepAlive, Interval: t.Interval, Count: t.Probes}.Tune(c)
		if raw, err := c.SyscallConn(); err == nil {
			boundUnsent(raw)
		}
	}
}

// DialEndpoint makes a socket to an endpoint, with TLS if it has that, as a pool with
// these options does: for a connection that is not one of calls.
func DialEndpoint(ctx context.Context, o PoolOptions, e Endpoint) (net.Conn, Route, error) {
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	return dialRoutes(ctx, &o, &e)
}

// dialRoutes tries one way after the other.
func dialRoutes(ctx context.Context, o *PoolOptions, e *Endpoint) (net.Conn, Route, error) {
	var errs []error
	for _, r := range Routes(o.Node, e) {
		nc, err := dialRoute(ctx, o, r.Transport, e)
		if err == nil {
			return nc, r, nil
		}
		errs = append(errs, fmt.Errorf("%v: %w", r.Transport, err))
		if ctx.Err() != nil {
			break
		}
	}
	if errs == nil {
		return nil, Route{}, fmt.Errorf("server %q has no address", e.ID)
	}
	return nil, Route{}, errors.Join(errs...)
}

func dialRoute(ctx context.Context, o *PoolOptions, t Transport, e *Endpoint) (net.Conn, error) {
	network, address := "tcp", e.TCP
	if t == TransportUnix {
		network, address = "unix", e.Unix
	}
	nc, err := o.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	o.Conn.TCP.Tune(nc)
	if t != TransportTLS {
		return nc, nil
	}
	secure := tls.Client(nc, tlsFor(e))
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, tlsError(err)
	}
	return secure, nil
}

// tlsFor is an endpoint's TLS, whose certificate has to be that of the host that is
// dialled, if nothing else is said.
func tlsFor(e *Endpoint) *tls.Config {
	if e.TLS.ServerName != "" || e.TLS.InsecureSkipVerify {
		return e.TLS
	}
	host, _, err := net.SplitHostPort(e.TCP)
	if err != nil {
		return e.TLS
	}
	named := e.TLS.Clone()
	named.ServerName = host
	return named
}
