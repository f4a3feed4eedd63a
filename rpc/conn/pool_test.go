package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// TestAConnectionIsMadeOnceWhenItIsNeeded is S1.8.
func TestAConnectionIsMadeOnceWhenItIsNeeded(t *testing.T) {
	server := startServer(t, &echo{}, nil)
	c := newPoolCaller()
	s := newService(t, newPool(t, c, nil), server.endpoint("a"))
	if state, _ := s.FrontEnds()[0].State(); state != Disconnected || server.accepted.Load() != 0 {
		t.Fatalf("without a call, state is %v, %d connections", state, server.accepted.Load())
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if _, err := echoOnce(t.Context(), s, c, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	state, route := s.FrontEnds()[0].State()
	if n := server.accepted.Load(); n != 1 || state != Connected || route.Transport != TransportUnix {
		t.Errorf("%d connections, %v by %+v", n, state, route)
	}
}

// TestASlowDialDelaysNobodyElse is the other half of S1.8.
func TestASlowDialDelaysNobodyElse(t *testing.T) {
	server := startServer(t, &echo{}, nil)
	c := newPoolCaller()
	p := newPool(t, c, func(o *PoolOptions) {
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == "black:1" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	hole := newService(t, p, Endpoint{ID: "hole", TCP: "black:1"})
	ctx, cancel := context.WithCancel(t.Context())
	stuck := make(chan error)
	go func() {
		_, err := hole.Acquire(ctx)
		stuck <- err
	}()
	if _, err := echoOnce(t.Context(), newService(t, p, server.endpoint("a")), c, "x"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-stuck; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting ends with %v", err)
	}
}

// TestManyEndpointsNeedFewConnections is S4.1, smaller: idle connections make
// room for new ones, and who finds none waits.
func TestManyEndpointsNeedFewConnections(t *testing.T) {
	server := startServer(t, &echo{spawn: true}, nil)
	c := newPoolCaller()
	p := newPool(t, c, func(o *PoolOptions) { o.MaxConns = 10 })
	var services []*Service
	for i := range 300 {
		services = append(services, newService(t, p, server.endpoint(fmt.Sprint(i))))
	}
	var most atomic.Int64
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := w; i < len(services); i += 20 {
				if _, err := echoOnce(t.Context(), services[i], c, "x"); err != nil {
					t.Error(err)
				}
				most.Store(max(most.Load(), int64(len(p.slots))))
			}
		})
	}
	wg.Wait()
	if most.Load() > 10 || server.accepted.Load() < 300 {
		t.Errorf("%d connections at the same time, %d in all", most.Load(), server.accepted.Load())
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	for name, o := range map[string]Options{
		"frame of 1 byte":           {MaxFrame: 1},
		"message below a frame":     {MaxMessage: 5000},
		"no room for a message":     {MaxMessage: 1 << 20, MaxAssembly: 1 << 19},
		"window below an allowance": {Window: 1000},
		"window that shrinks":       {Window: 1 << 20, MaxWindow: 1 << 19},
		"negative time":             {Write: -1},
	} {
		if _, err := NewPool(PoolOptions{Handler: &echo{}, Conn: o}); err == nil {
			t.Errorf("%s is taken by a pool", name)
		}
		if _, err := NewServer(ServerOptions{Handler: &echo{}, Admit: admitAll, Conn: o}); err == nil {
			t.Errorf("%s is taken by a server", name)
		}
	}
	if _, err := NewPool(PoolOptions{}); err == nil {
		t.Error("a pool without a handler")
	}
	if _, err := NewServer(ServerOptions{}); err == nil {
		t.Error("a server without a handler")
	}
}
