//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

// customer is a client of a pool: one connection to the tracker, and sessions
// on the servers that it is granted. It never tries again by itself, as stock
// clients do: what fails once, is seen.
type customer struct {
	*tracker.Client
	key string
}

func newCustomer(ctx context.Context, addr, key string) (*customer, error) {
	c, err := tracker.Dial(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("customer: %w", err)
	}
	return &customer{Client: c, key: key}, nil
}

func (c *customer) close() { _ = c.Close() }

// grant waits for a device.
func (c *customer) grant(ctx context.Context) (tvm.Grant, error) {
	g, err := c.Request(ctx, c.key, 1)
	if err != nil {
		return g, fmt.Errorf("grant: %w", err)
	}
	return g, nil
}

// serverAddr is where a grant's server is.
func serverAddr(g tvm.Grant) string { return net.JoinHostPort(g.Host, tvm.PortText(g.Port)) }

// visitServer starts a session on the granted server and makes a first call.
func visitServer(ctx context.Context, g tvm.Grant, timeout time.Duration) (*client.Session, error) {
	s, err := client.Dial(ctx, serverAddr(g), g.MatchKey, client.Options{Timeout: timeout, Flavour: tvm.FlavourC})
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	if err := callOnce(ctx, s); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// callOnce calls a function whose answer tells whether it ran.
func callOnce(ctx context.Context, s *client.Session) error {
	const in = 41
	got, err := s.Call(ctx, "test.addone", in)
	if err != nil {
		return fmt.Errorf("call: %w", err)
	}
	if got != int64(in+1) {
		return fmt.Errorf("call: %d plus one is %v", in, got)
	}
	return nil
}

// errSurvived says that a worker that was to die did not.
var errSurvived = errors.New("the worker lived on")

// crash has the session's worker die by calling a function, and checks that it
// did: the server must say so, or the connection end.
func crash(ctx context.Context, s *client.Session, function string, args ...any) error {
	_, err := s.Call(ctx, function, args...)
	_ = s.Close()
	var remote *client.RemoteError
	switch {
	case err == nil:
		return fmt.Errorf("%s: %w", function, errSurvived)
	case errors.Is(err, client.ErrSessionLost):
		return nil
	case errors.As(err, &remote) && strings.HasPrefix(remote.Text, "crash-"):
		return nil
	default:
		return fmt.Errorf("%s: %w", function, err)
	}
}

// sessionSizes are the lengths of what visitServer sends and is answered, after
// connecting: handshake, kInitServer, kGetGlobalFunc, call.
func sessionSizes(key string) []struct{ out, in int } {
	packet := func(p tvm.Packet) int {
		b, err := tvm.AppendPacket(nil, tvm.FlavourC, p)
		if err != nil { // constants
			panic(err)
		}
		return len(b)
	}
	return []struct{ out, in int }{
		{len(tvm.AppendClientHello(nil, ticket(key, 0), time.Second)), len(tvm.AppendAccept(nil, "server:"+key))},
		{packet(tvm.InitServer{Version: tvm.ProtocolVersion}), packet(tvm.Return{Values: []tvm.Value{tvm.Null()}})},
		{packet(tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str("test.addone")}}), packet(tvm.Return{Values: []tvm.Value{tvm.Handle(1)}})},
		{packet(tvm.CallFunc{Args: []tvm.Value{tvm.Int(41)}}), packet(tvm.Return{Values: []tvm.Value{tvm.Int(0), tvm.Int(42)}})},
	}
}

// rawSession does on the floor what visitServer does on a server: it connects
// and makes as many round trips of the same lengths.
func rawSession(ctx context.Context, floor, key string) (time.Duration, error) {
	began := time.Now()
	p, err := dialPeer(ctx, floor)
	if err != nil {
		return 0, err
	}
	defer p.close()
	for _, m := range sessionSizes(key) {
		if _, err := p.exchange(floorMessage(m.out, m.in), m.in); err != nil {
			return 0, fmt.Errorf("floor: %w", err)
		}
	}
	return time.Since(began), nil
}

const rawSessionIs = "raw TCP connect and four ping-pongs of the same sizes"
