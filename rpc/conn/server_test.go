package conn

import (
	"context"
	"errors"
	"io"
	"net"
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
				if err != nil && !errors.Is(err, ErrNoServer) && !errors.Is(err, errNotRun) {
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

// TestABulkConnectionIsAdmittedAsOthersAreAndThenAnotherServersBusiness: what it is for is
// known when the client has said who it is.
func TestABulkConnectionIsAdmittedAsOthersAreAndThenAnotherServersBusiness(t *testing.T) {
	server := startServer(t, &echo{}, func(o *ServerOptions) {
		o.Admit = func(h *frame.Hello) frame.HelloAck {
			if string(h.Token) != "key" {
				return frame.HelloAck{Version: frame.MaxVersion, Reason: frame.ReasonUnauthorised, Text: []byte("who is that?")}
			}
			return frame.Answer(h, frame.HelloAck{Features: frame.FeatureBulk})
		}
		o.Bulk = func(_ context.Context, nc net.Conn, from frame.Hello) { _, _ = nc.Write(from.Target) }
	})
	dial := func(token string) (net.Conn, error) {
		nc, route, err := DialEndpoint(t.Context(), PoolOptions{Node: "here"}, server.endpoint("a"))
		if err != nil || route.Transport != TransportTCP && route.Transport != TransportUnix {
			t.Fatal(route, err)
		}
		_, err = Shake(t.Context(), nc, frame.Hello{
			Limits:   frame.Limits{MaxFrame: frame.DefaultMaxFrame, MaxMessage: 1 << 20, Window: 1 << 20},
			Features: frame.FeatureBulk, Required: frame.FeatureBulk, Token: []byte(token), Target: []byte("hello"),
		}, patience)
		return nc, err
	}
	if _, err := dial("lock"); !errors.Is(err, &frame.Error{Reason: frame.ReasonUnauthorised}) {
		t.Errorf("error is %v", err)
	}
	nc, err := dial("key")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got, err := io.ReadAll(nc); string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}
