package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/tvm"
)

// Dial connects to a server, shows it the match key (without a tracker: the
// device key) and starts a session. It fails with [ErrMismatch] if the server
// waits for another key and with a [*RemoteError] if its worker refuses the
// session. Cancelling ctx later does not end the session.
func Dial(ctx context.Context, addr, matchKey string, o Options) (*Session, error) {
	o = o.withDefaults()
	conn, err := connect(ctx, addr, matchKey, o)
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", addr, err)
	}
	s := newSession(conn, addr, o.Flavour)
	if err := s.init(ctx, o.InitArgs); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("server %s: start session: %w", addr, err)
	}
	return s, nil
}

// connect dials and shakes hands.
func connect(ctx context.Context, addr, matchKey string, o Options) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = tcp.Tune(c) // an option that the platform lacks costs latency, not correctness
	}
	err = interruptible(ctx, conn, func() error { return handshake(conn, matchKey, o.Timeout) })
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return conn, nil
}

// handshake shows the key and reads the answer, and not a byte more.
func handshake(conn net.Conn, matchKey string, timeout time.Duration) error {
	if _, err := conn.Write(tvm.AppendClientHello(nil, matchKey, timeout)); err != nil {
		return err
	}
	buf := make([]byte, 0, 64)
	for {
		answer, n, err := tvm.ParseServerAnswer(buf)
		switch {
		case err == nil:
			return answer.Err()
		case !errors.Is(err, tvm.ErrShortAnswer):
			return err
		}
		have := len(buf)
		buf = append(buf, make([]byte, n-have)...)
		if _, err := io.ReadFull(conn, buf[have:]); err != nil {
			return lost(err)
		}
	}
}

// init sends kInitServer and learns the flavour from the answer.
func (s *Session) init(ctx context.Context, args []tvm.Value) error {
	want := s.flavour
	if want == tvm.FlavourAuto {
		s.flavour = tvm.FlavourC
	}
	packet, err := tvm.AppendPacket(nil, s.flavour, tvm.InitServer{Version: tvm.ProtocolVersion, Args: args})
	if err != nil {
		return err
	}
	body, err := s.roundTrip(ctx, packet)
	if err != nil {
		return err
	}
	reply := append(make([]byte, tvm.PacketHeader), body...)
	putLength(reply)
	got, err := tvm.FlavourOfInitReply(reply)
	switch {
	case errors.Is(err, tvm.ErrInitRefused):
		return refusal(body)
	case err != nil:
		return broken("%w", err)
	case want == tvm.FlavourAuto:
		s.flavour = got
	case (want == tvm.FlavourA) != (got == tvm.FlavourA):
		return broken("the server speaks flavour %s, this client flavour %s", got, want)
	}
	return nil
}

// refusal is the exception that answers kInitServer, in whichever flavour it
// can be decoded.
func refusal(body []byte) error {
	for _, f := range [...]tvm.Flavour{tvm.FlavourA, tvm.FlavourC} {
		if p, err := tvm.DecodePacket(f, body); err == nil {
			if e, ok := p.(tvm.Exception); ok {
				return &RemoteError{Text: e.Text}
			}
		}
	}
	return broken("answer to kInitServer")
}

// interruptible runs do, which uses conn, and makes it fail when ctx ends. It
// then returns ctx's error; conn is of no more use.
func interruptible(ctx context.Context, conn net.Conn, do func() error) error {
	if ctx.Done() == nil {
		return do()
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := do()
	if stop() {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return context.Cause(ctx) // too late: conn is stopped, or will be in a moment
}

func newSession(conn net.Conn, addr string, f tvm.Flavour) *Session {
	return &Session{
		conn: conn, in: bufio.NewReaderSize(conn, 64<<10), addr: addr, flavour: f, functions: make(map[string]*Func),
	}
}
