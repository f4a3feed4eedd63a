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
	hello.Features |= rings(nc, &opts)
	c := newConn(nc, opts, h, o)
	c.from = hello
	err = shake(ctx, nc, opts.Handshake, func() (err error) {
		c.ack, err = introduce(nc, &hello)
		return err
	})
	if err == nil {
		err = c.share(ctx, passMemory)
	}
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
	rings := rings(nc, &opts)
	from, ack, err := greet(ctx, nc, func(h *frame.Hello) frame.HelloAck {
		ack := admit(h)
		ack.Features |= h.Features & rings
		return ack
	}, opts)
	if err != nil {
		return nil, err
	}
	c := met(nc, from, ack, h, opts, o)
	if err := c.share(ctx, receiveMemory); err != nil {
		return nil, closeWith(nc, fmt.Errorf("handshake with client: %w", err))
	}
	c.open(from.Limits)
	return c, nil
}

// welcome makes a connection of a client whose handshake is over.
func welcome(nc net.Conn, from frame.Hello, ack frame.HelloAck, h Handler, opts Options, o owner) *Conn {
	c := met(nc, from, ack, h, opts, o)
	c.open(from.Limits)
	return c
}

// met is welcome before anything is read.
func met(nc net.Conn, from frame.Hello, ack frame.HelloAck, h Handler, opts Options, o owner) *Conn {
	c := newConn(nc, opts, h, o)
	c.from, c.ack = from, ack
	return c
}

// greet is the server's side of the handshake. If it fails, nc is closed.
func greet(ctx context.Context, nc net.Conn, admit Admit, opts Options) (from frame.Hello, ack frame.HelloAck, err error) {
	err = shake(ctx, nc, opts.Handshake, func() error {
		if err := secure(ctx, nc); err != nil {
			return err
		}
		body, err := readHalf(nc, frame.TypeHello)
		if err == nil {
			from, err = frame.ParseHello(body)
		}
		var bad *frame.Error
		switch {
		case errors.As(err, &bad):
			ack = refusal(bad)
		case err != nil:
			return err
		default:
			ack = admit(&from)
			ack.Features &^= frame.FeatureCRC
			if opts.Checksum {
				ack.Features |= from.Features & frame.FeatureCRC
			}
		}
		ack.Limits = opts.limits()
		if e := writeHalf(nc, frame.TypeHelloAck, ack.Append(nil)); e != nil {
			return e
		}
		if err == errSpeaksTLS { //nolint:errorlint // it is readHalf's
			seeOut(nc)
		}
		if err == nil && ack.Reason != frame.ReasonNone {
			err = &frame.Error{Reason: ack.Reason, Text: string(ack.Text)}
		}
		return err
	})
	if err != nil {
		return from, ack, closeWith(nc, fmt.Errorf("handshake with client: %w", err))
	}
	return from, ack, nil
}

// Shake is the client's side of the handshake of a connection that is not one of calls.
// If it fails, nc is closed.
func Shake(ctx context.Context, nc net.Conn, hello frame.Hello, timeout time.Duration) (frame.HelloAck, error) {
	hello.MinVersion, hello.MaxVersion = frame.MinVersion, frame.MaxVersion
	var ack frame.HelloAck
	err := shake(ctx, nc, timeout, func() (err error) {
		ack, err = introduce(nc, &hello)
		return err
	})
	if err != nil {
		return ack, closeWith(nc, fmt.Errorf("handshake with server: %w", err))
	}
	return ack, nil
}

// introduce says hello, and waits for the answer.
func introduce(nc net.Conn, hello *frame.Hello) (ack frame.HelloAck, err error) {
	if err := writeHalf(nc, frame.TypeHello, hello.Append(nil)); err != nil {
		return ack, err
	}
	body, err := readHalf(nc, frame.TypeHelloAck)
	if err != nil {
		return ack, err
	}
	if ack, err = frame.ParseHelloAck(body); err != nil {
		return ack, err //nolint:wrapcheck // it says all
	}
	return ack, frame.CheckAnswer(hello, &ack) //nolint:wrapcheck // it says all
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
	if err := checkMagic(head[:len(frame.Magic)]); err != nil {
		return nil, err
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
