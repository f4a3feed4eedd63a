package conn

import (
	"context"
	"errors"
	"sync"
	"testing"

	"rpcpool.dev/rpc/frame"
)

// TestAServerThatStopsLosesNothing sends its clients away while they call.
func TestAServerThatStopsLosesNothing(t *testing.T) {
	first, second := startServer(t, &echo{spawn: true}, func(o *ServerOptions) { o.Grace = patience }), startServer(t, &echo{spawn: true}, nil)
	c := newPoolCaller()
	p := newPool(t, c, nil)
	s := newService(t, p, first.endpoint("a"))
	if _, err := echoOnce(t.Context(), s, c, "x"); err != nil {
		t.Fatal(err)
	}
	if err := s.Update([]Endpoint{first.endpoint("a"), second.endpoint("b")}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				_, err := echoOnce(ctx, s, c, "x")
				cancel()
				if err != nil && !errors.Is(err, ErrNoServer) {
					t.Error(err)
					return
				}
			}
		})
	}
	if err := s.Update([]Endpoint{second.endpoint("b")}); err != nil {
		t.Fatal(err)
	}
	if err := first.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	close(stop)
	wg.Wait()
	if n := first.Conns(); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}

func TestTooManyConnectionsAreRefused(t *testing.T) {
	server := startServer(t, &echo{}, func(o *ServerOptions) { o.MaxConns = 1 })
	c := newPoolCaller()
	p := newPool(t, c, nil)
	if _, err := echoOnce(t.Context(), newService(t, p, server.endpoint("a")), c, "x"); err != nil {
		t.Fatal(err)
	}
	_, err := echoOnce(t.Context(), newService(t, p, server.endpoint("b")), c, "x")
	if !errors.Is(err, ErrNoServer) || !errors.Is(err, &frame.Error{Reason: frame.ReasonOverload}) {
		t.Errorf("error is %v", err)
	}
}
