package tracker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/tvm"
)

// maxReply bounds what a tracker may answer, in bytes. A summary of 100,000
// servers is about 20 MB.
const maxReply = 256 << 20

// ErrClientClosed is what calls on a closed [Client] return. A client is also
// closed by the first call that fails, unless the tracker just refused it.
var ErrClientClosed = errors.New("client is closed")

// Client is a connection to a tracker, ours or a stock one. Calls from several
// goroutines wait for each other. Messages go out in one piece each.
//
// A goroutine reads, always, so that the end of the connection is noticed at
// once. [Client.Close] ends it.
type Client struct {
	nc      *tcp.Conn
	in      []byte                  // the reader's, for the next reply
	expect  chan func([]byte) error // holds what the call in progress does with its reply
	parsed  chan error              // holds what came of that
	gone    chan struct{}           // closed when the reader has ended
	readErr error                   // why it has

	mu  sync.Mutex // held during a call
	out []byte
	err error // why the client is closed
}

// Dial connects to the tracker at addr ("host:port"), whose name it looks up
// each time, and exchanges magics. ctx bounds that, not the client's life.
func Dial(ctx context.Context, addr string) (*Client, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("tracker %s: %w", addr, err)
	}
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		_ = nc.Close()
		return nil, fmt.Errorf("tracker %s: connection is a %T, not TCP", addr, nc)
	}
	c := &Client{
		nc: tcp.NewConn(tc), expect: make(chan func([]byte) error, 1), parsed: make(chan error, 1),
		gone: make(chan struct{}),
	}
	if err := c.during(ctx, c.handshake); err != nil {
		_ = c.nc.Close()
		return nil, fmt.Errorf("tracker %s: handshake: %w", addr, err)
	}
	go c.read()
	return c, nil
}

func (c *Client) handshake() error {
	if _, err := c.nc.Write(tvm.AppendTrackerMagic(nil)); err != nil {
		return err
	}
	var magic [tvm.FrameHeader]byte
	if _, err := io.ReadFull(c.nc, magic[:]); err != nil {
		return err
	}
	return tvm.CheckTrackerMagic(magic)
}

// LocalAddr returns the client's own address.
func (c *Client) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// Gone is closed when the connection has ended, for whatever reason, also while
// no call is in progress. A tracker whose machine is gone says nothing; it takes
// a call, or the kernel's probes (see package tcp), to find out.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// Close closes the connection. A call in progress fails.
func (c *Client) Close() error {
	err := c.nc.Close()
	<-c.gone
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Ping asks the tracker for a sign of life (spec: TVM tracker PING).
func (c *Client) Ping(ctx context.Context) error { return c.status(ctx, tvm.Ping{}) }

// Put offers one session (spec: TVM tracker PUT).
func (c *Client) Put(ctx context.Context, m tvm.Put) error { return c.status(ctx, m) }

// UpdateInfo tells the tracker about this server (spec: TVM tracker
// UPDATE_INFO).
func (c *Client) UpdateInfo(ctx context.Context, m tvm.UpdateInfo) error { return c.status(ctx, m) }

// Stop asks the tracker to end. It fails with [tvm.ErrRefused] if key is not
// the tracker's stop key.
func (c *Client) Stop(ctx context.Context, key string) error {
	return c.status(ctx, tvm.Stop{Key: key})
}

// Pending returns the match keys that this connection has put and that nobody
// has been given yet (spec: TVM tracker GET_PENDING_MATCHKEYS).
func (c *Client) Pending(ctx context.Context) (keys []string, err error) {
	err = c.call(ctx, tvm.GetPendingMatchKeys{}, func(reply []byte) error {
		keys, err = tvm.ParseMatchKeys(reply)
		return err
	})
	return keys, err
}

// Summary returns the servers and the queues (spec: TVM tracker SUMMARY).
func (c *Client) Summary(ctx context.Context) (s tvm.SummaryReply, err error) {
	err = c.call(ctx, tvm.Summary{}, func(reply []byte) error {
		s, err = tvm.ParseSummaryReply(reply)
		return err
	})
	return s, err
}

// Request waits, as long as ctx lets it, for a server of a device key (spec: TVM
// tracker REQUEST). Requests of higher priority are served first. A ctx that
// ends closes the connection: a request cannot be taken back otherwise.
func (c *Client) Request(ctx context.Context, key string, priority float64) (g tvm.Grant, err error) {
	err = c.call(ctx, tvm.Request{Key: key, Priority: priority}, func(reply []byte) error {
		g, err = tvm.ParseGrant(reply)
		return err
	})
	return g, err
}

func (c *Client) status(ctx context.Context, m tvm.Message) error {
	return c.call(ctx, m, func(reply []byte) error {
		code, err := tvm.ParseStatus(reply)
		if err == nil && code != tvm.CodeSuccess {
			err = tvm.ErrRefused
		}
		return err
	})
}

// call sends a message and parses its reply.
func (c *Client) call(ctx context.Context, m tvm.Message, parse func(reply []byte) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return fmt.Errorf("tracker: %s: %w: %w", m.Code(), ErrClientClosed, c.err)
	}
	err := c.during(ctx, func() error {
		c.out = tvm.AppendMessage(c.out[:0], m)
		return c.exchange(c.out, parse)
	})
	if err == nil {
		return nil
	}
	if !errors.Is(err, tvm.ErrRefused) {
		c.err = err
		_ = c.nc.Close()
	}
	return fmt.Errorf("tracker: %s: %w", m.Code(), err)
}

// exchange writes a frame and has the reader parse the reply.
func (c *Client) exchange(frame []byte, parse func(reply []byte) error) error {
	select {
	case <-c.gone: // writing would say less about why
		return c.readErr
	default:
	}
	c.expect <- parse
	if _, err := c.nc.Write(frame); err != nil {
		return err
	}
	select {
	case err := <-c.parsed:
		return err
	case <-c.gone:
	}
	select {
	case err := <-c.parsed: // the reply was the last thing that came
		return err
	default:
		return c.readErr
	}
}

// read reads replies until the connection ends or the tracker says what nobody
// asked for.
func (c *Client) read() {
	defer close(c.gone)
	for {
		reply, err := c.readFrame()
		if err != nil {
			c.readErr = err
			return
		}
		select {
		case parse := <-c.expect:
			c.parsed <- parse(reply)
		default:
			c.readErr = fmt.Errorf("%w: a reply that nobody asked for", tvm.ErrMessage)
			return
		}
	}
}

// during runs f, and closes the connection if ctx ends before f does.
func (c *Client) during(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ctx.Done() == nil {
		return f()
	}
	stop := context.AfterFunc(ctx, func() { _ = c.nc.Close() })
	err := f()
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}

// readFrame reads one reply, into memory that grows only as bytes come.
func (c *Client) readFrame() ([]byte, error) {
	buf := c.in[:0]
	for {
		if len(buf) == cap(buf) {
			const least = 512
			grown := make([]byte, len(buf), max(least, 2*cap(buf)))
			copy(grown, buf)
			buf = grown
		}
		n, err := c.nc.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			return nil, noEOF(err)
		}
		if len(buf) < tvm.FrameHeader {
			continue
		}
		size := int32(binary.LittleEndian.Uint32(buf))
		if size < 1 || size > maxReply {
			return nil, fmt.Errorf("%w: reply of %d bytes", tvm.ErrFrameLength, size)
		}
		switch have := len(buf) - tvm.FrameHeader; {
		case have == int(size):
			c.keep(buf)
			return buf[tvm.FrameHeader:], nil
		case have > int(size):
			return nil, fmt.Errorf("%w: bytes after the reply", tvm.ErrMessage)
		}
	}
}

// keep keeps a buffer for the next call, unless it is big.
func (c *Client) keep(buf []byte) {
	const most = 64 << 10
	if cap(buf) <= most {
		c.in = buf
	}
}

// noEOF makes the end of the stream an error that says what it means here.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("connection closed by the tracker: %w", io.ErrUnexpectedEOF)
	}
	return err
}
