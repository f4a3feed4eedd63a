//go:build linux

package conformance

import (
	"context"
	"io"
	"net"
	"strconv"
	"testing"

	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

// ticket asks the tracker for a device, as a client does.
func (p *trackerProc) ticket() (addr, matchKey string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := tracker.Dial(ctx, p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	g, err := c.Request(ctx, key, 1)
	if err != nil {
		p.t.Fatal(err)
	}
	return net.JoinHostPort(g.Host, tvm.PortText(g.Port)), g.MatchKey
}

// open opens a session as a stock client does: tracker, handshake, kInitServer.
func (p *trackerProc) open(o client.Options) *client.Session {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := client.Request(ctx, p.addr, key, o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = s.Close() })
	return s
}

// works checks that the server serves: a whole session, with a call.
func (p *trackerProc) works() {
	p.t.Helper()
	s := p.open(client.Options{})
	checkAddOne(p.t, s)
	closeOf(p.t, s)
}

// call calls a function that must succeed.
func call(t testing.TB, s *client.Session, name string, args ...any) any {
	t.Helper()
	v, err := tryCall(s, name, args...)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// tryCall calls a function. It does not hang for ever.
func tryCall(s *client.Session, name string, args ...any) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	return s.Call(ctx, name, args...)
}

func checkAddOne(t testing.TB, s *client.Session) {
	t.Helper()
	if got := call(t, s, "test.addone", 41); got != int64(42) {
		t.Errorf("test.addone(41) = %v", got)
	}
}

func pidOf(t testing.TB, s *client.Session) int {
	t.Helper()
	switch v := call(t, s, "test.pid").(type) {
	case int64:
		return int(v)
	case string:
		pid, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		return pid
	default:
		t.Fatalf("test.pid returned %T", v)
		return 0
	}
}

func closeOf(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
