package sidecar

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/tvm"
)

// Bounds of the door.
const (
	// maxHandshakes is how many handshakes are in progress at most; the oldest
	// is dropped for a newcomer, because an honest client needs milliseconds
	// and one that has been silent for seconds will stay so.
	maxHandshakes = 4096
	// acceptPause is how long the door rests when accepting fails for want of
	// descriptors or memory.
	acceptPause = 50 * time.Millisecond
	// maxWaiters is how many clients wait in direct mode; one more is refused.
	maxWaiters = 1024
	// waiterCheck is how often a waiting client is looked at: one that has left
	// must not keep its place, nor its descriptor.
	waiterCheck = time.Second
)

// admitted is a client that showed the ticket and has its answer.
type admitted struct {
	conn   *net.TCPConn
	hello  tvm.ClientHello
	client string
}

// door accepts clients and shakes hands with all of them at once; a silent one
// delays nobody. It reads exactly the handshake: the next byte is the worker's.
type door struct {
	listener *net.TCPListener
	key      string // device key
	direct   bool   // no tracker: the device key is the ticket, and clients wait for it in turn
	timeout  time.Duration
	tickets  *tickets
	admit    func(admitted) // a client is in
	lost     func()         // a ticket was claimed, but its client is gone
	log      *slog.Logger
	count    func(result handshakeResult)

	line line // direct mode: clients that wait
	mu   sync.Mutex
	open list.List // of net.Conn, handshakes in progress, oldest first
}

// serve accepts until ctx ends, then waits for handshakes in progress.
func (d *door) serve(ctx context.Context) error {
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	stop := context.AfterFunc(ctx, func() { _ = d.listener.Close(); d.closeAll() })
	defer stop()
	for {
		c, err := d.listener.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		case err != nil:
			d.log.Warn("cannot accept", "error", err)
			sleep.For(acceptPause, ctx.Done())
			continue
		}
		handshakes.Go(func() { d.handle(ctx, c) })
	}
}

// handle does one handshake and counts how it went.
func (d *door) handle(ctx context.Context, c *net.TCPConn) {
	entry := d.enter(c)
	conn := tcp.NewConn(c)
	_ = conn.SetDeadline(time.Now().Add(d.timeout))
	hello, err := readHello(conn)
	d.leave(entry)
	if err == nil {
		err = d.claim(ctx, conn, hello)
	}
	if err != nil {
		d.refuse(conn, err)
		return
	}
	_ = conn.SetDeadline(time.Now().Add(d.timeout))
	if _, err := conn.Write(tvm.AppendAccept(nil, "server:"+d.key)); err != nil {
		d.count(handshakeClosed)
		_ = conn.Close()
		d.lost()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	d.count(handshakeAccepted)
	d.admit(admitted{conn: c, hello: hello, client: c.RemoteAddr().String()})
}

// readHello reads the client's half of the handshake and not a byte more.
func readHello(r io.Reader) (tvm.ClientHello, error) {
	var header [tvm.HandshakeHeader]byte
	if _, err := io.ReadFull(r, header[:4]); err != nil {
		return tvm.ClientHello{}, fmt.Errorf("read magic: %w", err)
	}
	if err := tvm.CheckMagic([4]byte(header[:4])); err != nil {
		return tvm.ClientHello{}, fmt.Errorf("handshake: %w", err)
	}
	if _, err := io.ReadFull(r, header[4:]); err != nil {
		return tvm.ClientHello{}, fmt.Errorf("read key length: %w", err)
	}
	n, err := tvm.HandshakeLen(header)
	if err != nil {
		return tvm.ClientHello{}, fmt.Errorf("handshake: %w", err)
	}
	key := make([]byte, n)
	if _, err := io.ReadFull(r, key); err != nil {
		return tvm.ClientHello{}, fmt.Errorf("read key: %w", err)
	}
	hello, err := tvm.ParseClientKey(key)
	if err != nil {
		return tvm.ClientHello{}, errors.Join(errNoTicket, err)
	}
	return hello, nil
}

// claim takes the ticket that the client shows. In direct mode it waits for it:
// stock clients that connect one after the other expect to be served in turn.
func (d *door) claim(ctx context.Context, c *tcp.Conn, h tvm.ClientHello) error {
	if !d.direct {
		_, err := d.tickets.Claim(h.MatchKey)
		return err
	}
	if h.MatchKey != d.key {
		return errNoTicket
	}
	w, err := d.line.join()
	if err != nil {
		return err
	}
	defer d.line.leave(w)
	look := time.NewTicker(waiterCheck)
	defer look.Stop()
	for first := false; ; {
		var changed <-chan struct{}
		if first {
			var err error
			if changed, err = d.tickets.Claim(h.MatchKey); err == nil {
				return nil
			}
		}
		turn := w.turn
		if first {
			turn = nil
		}
		select {
		case <-turn:
			first = true
		case <-changed:
		case <-look.C:
			if hungUp(c.TCPConn) {
				return io.EOF
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refuse answers and closes. Only a well-formed handshake with a wrong ticket
// is answered; everything else is closed without a word, as stock servers do.
func (d *door) refuse(c net.Conn, err error) {
	result := resultOf(err)
	d.count(result)
	d.log.Debug("handshake refused", "client", c.RemoteAddr().String(), "result", string(result), "error", err)
	if result == handshakeMismatch {
		_, _ = c.Write(tvm.AppendMismatch(nil))
	}
	_ = c.Close()
}

func resultOf(err error) handshakeResult {
	switch {
	case errors.Is(err, errNoTicket):
		return handshakeMismatch
	case errors.Is(err, os.ErrDeadlineExceeded):
		return handshakeTimeout
	case errors.Is(err, tvm.ErrBadMagic):
		return handshakeBadMagic
	case errors.Is(err, tvm.ErrHandshakeKeyLength):
		return handshakeBadKey
	default:
		return handshakeClosed
	}
}

// enter registers a handshake, at the cost of the oldest if there are too many.
func (d *door) enter(c net.Conn) *list.Element {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open.Len() >= maxHandshakes {
		_ = d.open.Remove(d.open.Front()).(net.Conn).Close() //nolint:forcetypeassert // enter is the only one to push
	}
	return d.open.PushBack(c)
}

func (d *door) leave(e *list.Element) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open.Remove(e)
}

func (d *door) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for e := d.open.Front(); e != nil; e = e.Next() {
		_ = e.Value.(net.Conn).Close() //nolint:forcetypeassert // enter is the only one to push
	}
}
