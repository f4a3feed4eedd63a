package conn

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// beats is a clock of a keeper that tests move. It starts anywhere.
type beats struct {
	ticks chan time.Time
	every time.Duration
	now   time.Time
}

func newBeats() *beats {
	return &beats{ticks: make(chan time.Time), now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (b *beats) ticker(every time.Duration) (<-chan time.Time, func()) {
	b.every = every
	return b.ticks, func() {}
}

// advance lets the keeper tick, and look, for a time.
func (b *beats) advance(d time.Duration) {
	for end := b.now.Add(d); b.now.Add(b.every).Compare(end) <= 0; {
		b.now = b.now.Add(b.every)
		b.ticks <- b.now
	}
	b.ticks <- b.now // returns when the keeper has looked
}

// testServer is a server over a Unix socket.
type testServer struct {
	*Server
	path     string
	accepted atomic.Int32
}

// counting counts what it accepts.
type counting struct {
	net.Listener
	n *atomic.Int32
}

func (l counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

func startServer(t testing.TB, h Handler, change func(*ServerOptions)) *testServer {
	t.Helper()
	opts := ServerOptions{Handler: h, Admit: admitAll}
	if change != nil {
		change(&opts)
	}
	s, err := NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ts := &testServer{Server: s, path: filepath.Join(t.TempDir(), "s")}
	l, err := net.Listen("unix", ts.path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(counting{l, &ts.accepted}) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return ts
}

func (s *testServer) endpoint(id string) Endpoint {
	return Endpoint{ID: id, Node: "here", Unix: s.path}
}

func newPool(t testing.TB, h Handler, change func(*PoolOptions)) *Pool {
	t.Helper()
	opts := PoolOptions{Handler: h, Node: "here"}
	if change != nil {
		change(&opts)
	}
	p, err := NewPool(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func newService(t testing.TB, p *Pool, endpoints ...Endpoint) *Service {
	t.Helper()
	s := p.Service("echo")
	if err := s.Update(endpoints); err != nil {
		t.Fatal(err)
	}
	return s
}

// echoOnce makes one call to any server of a service.
func echoOnce(ctx context.Context, s *Service, c *poolCaller, body string) (from string, err error) {
	r, err := s.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer r.Release()
	got, err := c.call(ctx, r.Peer, frame.PriorityNormal, []byte(body))
	if err == nil && string(got) != body {
		err = fmt.Errorf("got %q, want %q", got, body)
	}
	return r.From.Endpoint().ID, err
}

// poolCaller matches replies of many connections.
type poolCaller struct {
	caller
	lost atomic.Int32
}

func newPoolCaller() *poolCaller {
	return &poolCaller{caller: caller{waiting: map[uint64]chan []byte{}}}
}

func (c *poolCaller) Closed(_ Peer, _ error, _ []uint64) { c.lost.Add(1) }
