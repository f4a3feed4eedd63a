package naming

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen. It is never waited for when
// all is well.
const patience = 30 * time.Second

// Leases of tests: with the long one, nobody is fenced.
var (
	short = registry.Lease{Renew: 50 * time.Millisecond, Self: 1500 * time.Millisecond, Fence: 2500 * time.Millisecond}
	long  = registry.Lease{Renew: 50 * time.Millisecond, Self: patience, Fence: 2 * patience}
)

// eager is for nodes that do not wait long for a registry.
var eager = registry.RegistrarOptions{First: 10 * time.Millisecond, Most: 100 * time.Millisecond}

// site is a place where one registry after another runs.
type site struct {
	t    testing.TB
	addr string
	opts Options
	host *Host
	done chan error
}

// serve runs the first registry, until the test ends or it is stopped.
func serve(t testing.TB, opts Options) *site {
	t.Helper()
	opts.Registry.Term, opts.Registry.First = 7, true
	s := &site{t: t, addr: "127.0.0.1:0", opts: opts}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *site) start() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	if s.host, err = NewHost(s.opts, nil); err != nil {
		s.t.Fatal(err)
	}
	host, done := s.host, make(chan error, 1)
	s.done = done
	go func() { done <- host.Serve(l) }()
}

func (s *site) stop() {
	if s.host == nil {
		return
	}
	if err := s.host.Close(); err != nil {
		s.t.Error(err)
	}
	if err := <-s.done; !errors.Is(err, rpc.ErrClosed) {
		s.t.Error(err)
	}
	s.host = nil
}

// next runs another registry in place of the one that was stopped.
func (s *site) next() {
	s.t.Helper()
	s.opts.Registry.Term++
	s.opts.Registry.First = false
	s.start()
}

// client returns one more client of the registry.
func (s *site) client() *rpc.Client {
	s.t.Helper()
	c, err := Dial(rpc.ClientOptions{}, s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// follow returns a follower that reads the registry by itself.
func (s *site) follow() *Follower {
	s.t.Helper()
	f := Follow(s.client(), FollowOptions{First: 10 * time.Millisecond, Most: 100 * time.Millisecond})
	s.t.Cleanup(func() { _ = f.Close() })
	return f
}

// machine is a node with a server that says who it is.
type machine struct {
	*Node
	registry *rpc.Client
	server   *rpc.Server
	fenced   chan struct{} // one for each OnFence
	hang     chan struct{} // closed to let Hang return
	hangs    chan struct{} // one for each that hangs
}

// join starts a machine whose servers are of the services.
func (s *site) join(id string, services ...registry.Service) *machine {
	s.t.Helper()
	return s.joinAs(NodeOptions{ID: id, Services: services})
}

func (s *site) joinAs(o NodeOptions) *machine {
	s.t.Helper()
	m := &machine{registry: s.client(), fenced: make(chan struct{}, 100), hang: make(chan struct{}), hangs: make(chan struct{}, 100)}
	o.Endpoints, o.Registrar, o.OnFence = m.serve(s.t, o.ID), eager, func() { m.fenced <- struct{}{} }
	var err error
	m.Node, err = Join(soon(s.t), m.registry, o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = m.Close() })
	return m
}

func (m *machine) serve(t testing.TB, id string) registry.Endpoints {
	t.Helper()
	var err error
	if m.server, err = rpc.NewServer(rpc.ServerOptions{}); err != nil {
		t.Fatal(err)
	}
	rpc.Handle(m.server, "Who", func(context.Context, int) (string, error) { return id, nil })
	rpc.Handle(m.server, "Hang", func(ctx context.Context, patient bool) (string, error) {
		if patient {
			m.hangs <- struct{}{}
			select {
			case <-m.hang:
			case <-ctx.Done():
			}
		}
		return id, nil
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- m.server.Serve(l) }()
	t.Cleanup(func() {
		_ = m.server.Close()
		<-done
	})
	return registry.Endpoints{TCP: l.Addr().String(), Boot: "boot"}
}

// die takes a machine from the registry without a word.
func (m *machine) die() { _ = m.registry.Close() }

// users returns a client of a service's servers.
func users(t testing.TB, f *Follower, service string) *rpc.Client {
	t.Helper()
	c, err := rpc.NewClient(rpc.ClientOptions{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := f.Feed(service, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// until waits for a view to be as it is to be.
func until(t testing.TB, v *registry.View, what string, is func() bool) {
	t.Helper()
	over := time.After(patience)
	for {
		changed := v.Changed()
		if is() {
			return
		}
		select {
		case <-changed:
		case <-over:
			t.Fatalf("%s: not so after %v; nodes are %v", what, patience, v.Nodes())
		}
	}
}

// await waits for something to be closed, or sent.
func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not after %v", what, patience)
	}
}

// claim is what a node has now.
func (m *machine) claim(t testing.TB) registry.Claim {
	t.Helper()
	c, err := m.Ready(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
