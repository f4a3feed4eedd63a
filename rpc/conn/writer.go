package conn

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"rpcpool.dev/rpc/ring"
)

// writer writes to a socket. It waits only where it is allowed to.
type writer struct {
	nc      net.Conn
	timeout time.Duration         // for a full socket to take anything
	try     trier                 // nil: it can only wait
	buffer  func(bytes int) error // sets the socket's send buffer; nil: that bounds nothing
}

func (w *writer) init(nc net.Conn, timeout time.Duration) {
	w.nc, w.timeout = nc, timeout
	if c, ok := nc.(interface{ SetWriteBuffer(bytes int) error }); ok && TransportOf(nc) == TransportUnix {
		w.buffer = c.SetWriteBuffer
	}
	w.try = newTrier(nc)
}

// tries tells whether the writer can write without waiting.
func (w *writer) tries() bool { return w.try != nil }

// bound makes the socket take much less at a time, or as much as ever.
func (w *writer) bound(less bool) {
	switch {
	case w.buffer == nil:
	case less:
		_ = w.buffer(tightBuffer)
	default:
		_ = w.buffer(unixBuffer)
	}
}

// write writes as much of p as the socket takes: something at least, if wait is
// set.
func (w *writer) write(p [][]byte, wait bool) (n int, err error) {
	if w.tries() {
		n, err = w.try.write(p, false)
		if n > 0 || err != nil || !wait {
			return n, classify(err)
		}
	}
	if err = w.nc.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, classify(err)
	}
	if w.tries() {
		n, err = w.try.write(p, true)
	} else {
		n, err = w.writeAll(p)
	}
	if err != nil {
		return n, classify(err)
	}
	return n, classify(w.nc.SetWriteDeadline(time.Time{}))
}

func (w *writer) writeAll(p [][]byte) (n int, err error) {
	for _, b := range p {
		m, err := w.nc.Write(b)
		n += m
		if err != nil {
			return n, err //nolint:wrapcheck // classify does
		}
	}
	return n, nil
}

// classify gives errors of a socket our names.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrSlowPeer, err)
	case errors.Is(err, net.ErrClosed):
		return ErrClosed
	case errors.Is(err, ring.ErrPeer):
		return malformed("%v", err)
	default:
		return fmt.Errorf("%w: %w", ErrEPIPE, err)
	}
}
