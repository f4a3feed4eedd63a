package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/frame"
)

// Admit decides about a client: it answers its hello, most simply with
// [frame.Answer]. Limits need not be filled in.
type Admit func(*frame.Hello) frame.HelloAck

// Connect makes a connection of a socket to a server. hello says who the client
// is; its versions and limits are filled in. If it fails, nc is closed.
func Connect(ctx context.Context, nc net.Conn, hello frame.Hello, h Handler, opts Options) (*Conn, error) {
	return connect(ctx, nc, hello, h, opts, owner{clock: new(atomic.Int64)})
}

func connect(ctx context.Context, nc net.Conn, hello frame.Hello, h Handler, opts Options, o owner) (*Conn, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, closeWith(nc, err)
	}
	hello.MinVersion, hello.MaxVersion, hello.Limits = frame.MinVersion, frame.MaxVersion, opts.limits()
	if opts.Checksum {
		hello.Features |= frame.FeatureCRC
	}
	c := newConn(nc, opts, h, o)
	c.from = hello
	err = shake(ctx, nc, opts.Handshake, func() error {
		if err := writeHalf(nc, frame.TypeHello, hello.Append(nil)); err != nil {
			return err
		}
		body, err := readHalf(nc, frame.TypeHelloAck)
		if err != nil {
			return err
		}
		if c.ack, err = frame.ParseHelloAck(body); err != nil {
			return err //nolint:wrapcheck // it says all
		}
		return frame.CheckAnswer(&hello, &c.ack) //nolint:wrapcheck // it says all
	})
	if err != nil {
		return nil, closeWith(nc, fmt.Errorf("handshake with server: %w", err))
	}
	c.open(c.ack.Limits)
	return c, nil
}

// Accept makes a connection of a client's socket. If it fails, the client is told
// why and nc closed.
func Accept(ctx context.Context, nc net.Conn, admit Admit, h Handler, opts Options) (*Conn, error) {
	return accept(ctx, nc, admit, h, opts, owner{clock: new(atomic.Int64)})
}

func accept(ctx context.Context, nc net.Conn, admit Admit, h Handler, opts Options, o owner) (*Conn, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, closeWith(nc, err)
	}
	c := newConn(nc, opts, h, o)
	err = shake(ctx, nc, opts.Handshake, func() error {
		body, err := readHalf(nc, frame.TypeHello)
		if err == nil {
			c.from, err = frame.ParseHello(body)
		}
		var bad *frame.Error
		switch {
		case errors.As(err, &bad):
			c.ack = frame.HelloAck{Version: frame.MaxVersion, Reason: bad.Reason, Text: []byte(bad.Text)}
		case err != nil:
			return err
		default:
			c.ack = admit(&c.from)
			c.ack.Features &^= frame.FeatureCRC
			if opts.Checksum {
				c.ack.Features |= c.from.Features & frame.FeatureCRC
			}
		}
		c.ack.Limits = opts.limits()
		if e := writeHalf(nc, frame.TypeHelloAck, c.ack.Append(nil)); e != nil {
			return e
		}
		if err == nil && c.ack.Reason != frame.ReasonNone {
			err = &frame.Error{Reason: c.ack.Reason, Text: string(c.ack.Text)}
		}
		return err
	})
	if err != nil {
		return nil, closeWith(nc, fmt.Errorf("handshake with client: %w", err))
	}
	c.open(c.from.Limits)
	return c, nil
}

// shake runs a handshake within a time.
func shake(ctx context.Context, nc net.Conn, timeout time.Duration, run func() error) error {
	if err := nc.SetDeadline(time.Now().Add(timeout)); err != nil {
		return classify(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err := run()
	if !stop() {
		return context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
	}
	if err != nil {
		return err
	}
	return classify(nc.SetDeadline(time.Time{}))
}

func writeHalf(nc net.Conn, t frame.Type, body []byte) error {
	wire := frame.Append([]byte(frame.Magic), &frame.Header{Type: t}, nil, body)
	_, err := nc.Write(wire)
	return classify(err)
}

// readHalf reads the magic and one frame, and not a byte more.
func readHalf(nc net.Conn, want frame.Type) ([]byte, error) {
	var head [len(frame.Magic) + frame.HeaderLen]byte
	if _, err := io.ReadFull(nc, head[:len(frame.Magic)]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCut, err)
	}
	if err := frame.CheckMagic(head[:len(frame.Magic)]); err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	if _, err := io.ReadFull(nc, head[len(frame.Magic):]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCut, err)
	}
	h, err := frame.ParseHeader(head[len(frame.Magic):], frame.MaxHello)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	if h.Type != want {
		return nil, malformed("%v instead of %v", h.Type, want)
	}
	rest := make([]byte, h.ExtLen+h.BodyLen)
	if _, err := io.ReadFull(nc, rest); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCut, err)
	}
	return rest[h.ExtLen:], nil
}

func closeWith(nc net.Conn, err error) error {
	_ = nc.Close()
	return err
}
