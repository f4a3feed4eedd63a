package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
)

const (
	// Variable says in a worker's environment what descriptor 3 is.
	Variable = "RPCPOOL_SESSION"
	// Calls is its value where that is a channel of calls.
	Calls = "calls"
	// Descriptor is the channel's number.
	Descriptor = 3
)

// ErrNoChannel means that nobody has started this process as a worker of calls.
var ErrNoChannel = errors.New("no call channel: " + Variable + " is not " + Calls +
	": a worker is started by a server, as by 'rpcpool serve --protocol rpc -- PROGRAM'")

// Options are a call channel's, on both sides. Its peer is as close as can be and has
// its own watchdog, so nothing is given up for want of time, and nothing waits for
// room in a queue: what is in it has its memory already.
func Options() conn.Options {
	return conn.Options{
		MaxMessage: 1 << 30, MaxQueue: 1 << 40, Handshake: 30 * time.Second,
		Write: 24 * time.Hour, Linger: 50 * time.Millisecond, Ring: true,
	}
}

// Inherited tells whether this process was started as a worker of calls.
func Inherited() bool { return os.Getenv(Variable) == Calls }

// Serve runs what comes by the channel that this process was born with, until that
// ends, which is no error, or ctx does. It does not wait for what runs then: the
// process is to end.
func Serve(ctx context.Context, methods ...server.Method) error {
	if !Inherited() {
		return ErrNoChannel
	}
	f := os.NewFile(Descriptor, "call channel")
	nc, err := net.FileConn(f) // a descriptor of its own, closed on exec
	_ = f.Close()
	_ = os.Unsetenv(Variable)
	if err != nil {
		return fmt.Errorf("descriptor %d is no call channel: %w", Descriptor, err)
	}
	return ServeConn(ctx, nc, methods...)
}

// ServeConn is Serve on any connection. It closes nc.
func ServeConn(ctx context.Context, nc net.Conn, methods ...server.Method) error {
	local := &server.Local{}
	features := frame.FeatureStreams
	if callee := attach(nc); callee != nil {
		defer callee.Close() //nolint:errcheck // the process is to end
		local.Lend(callee)
		features |= frame.FeatureBlobs | frame.FeatureBlobReuse
	}
	bare, err := server.NewBare(ctx, local, methods...)
	if err != nil {
		return errors.Join(err, nc.Close()) //nolint:wrapcheck // it names the method
	}
	conn.Tune(nc)
	admit := func(h *frame.Hello) frame.HelloAck {
		return frame.Answer(h, frame.HelloAck{Features: features, Machine: server.Machine()})
	}
	c, err := conn.Accept(ctx, nc, admit, bare, Options())
	if err != nil {
		return fmt.Errorf("call channel: %w", err)
	}
	defer func() { go local.Close() }() //nolint:errcheck // it cannot fail, and may wait for a handler that never ends
	select {
	case <-c.Done():
	case <-ctx.Done():
		_ = c.Close()
		return context.Cause(ctx)
	}
	if err := c.Err(); !errors.Is(err, conn.ErrPeerClosed) && !errors.Is(err, conn.ErrClosed) {
		return fmt.Errorf("call channel: %w", err)
	}
	return nil
}
