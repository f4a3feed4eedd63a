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
type Client struct {
	nc *tcp.Conn

	mu  sync.Mutex // held during a call
	buf []byte
	err error // why the client is closed
}

// Dial connects to the tracker at addr ("host:port") and exchanges magics. ctx
// bounds that, not the client's life.
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
	c := &Client{nc: tcp.NewConn(tc)}
	if err := c.during(ctx, c.handshake); err != nil {
		_ = c.nc.Close()
		return nil, fmt.Errorf("tracker %s: handshake: %w", addr, err)
	}
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

// Close closes the connection. A call in progress fails.
func (c *Client) Close() error {
	err := c.nc.Close()
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
		c.buf = tvm.AppendMessage(c.buf[:0], m)
		if _, err := c.nc.Write(c.buf); err != nil {
			return err
		}
		reply, err := c.readFrame()
		if err != nil {
			return err
		}
		return parse(reply)
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
	buf := c.buf[:0]
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
		c.buf = buf
	}
}

// noEOF makes the end of the stream an error that says what it means here.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("connection closed by the tracker: %w", io.ErrUnexpectedEOF)
	}
	return err
}
