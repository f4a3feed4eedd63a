//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/codec"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
)

const (
	goodPeerLimit = 2 * time.Second // to serve a good peer
	goodPeerEvery = 50 * time.Millisecond
)

// goodPeers do what honest peers do while others attack, and note how long it
// took.
type goodPeers struct {
	tracker *service
	server  *server
	calls   *service

	mu    sync.Mutex
	kinds map[string]*goodKind
}

// goodKind is one kind of thing that good peers do.
type goodKind struct {
	took   sample
	failed int
	first  error
}

func (g *goodPeers) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kinds = nil
}

// repeat does something again and again until ctx ends. Each time must succeed
// within the limit; what the end of ctx cuts off is not counted.
func (g *goodPeers) repeat(ctx context.Context, kind string, do func(context.Context) error) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, goodPeerLimit)
		began := time.Now()
		err := do(limited)
		took := time.Since(began)
		cancel()
		if ctx.Err() == nil || err == nil {
			g.note(kind, took, err)
		}
		select {
		case <-time.After(goodPeerEvery):
		case <-ctx.Done():
		}
	}
}

func (g *goodPeers) note(kind string, took time.Duration, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.kinds == nil {
		g.kinds = map[string]*goodKind{}
	}
	k := g.kinds[kind]
	if k == nil {
		k = &goodKind{}
		g.kinds[kind] = k
	}
	k.took.add(took)
	if err != nil {
		k.failed++
		if k.first == nil {
			k.first = err
		}
	}
}

// match registers a server, offers it, and gets it as a client.
func (g *goodPeers) match(ctx context.Context) {
	const key = goodKey + "-scripted"
	g.repeat(ctx, "a server registers, a client is granted it", func(ctx context.Context) error {
		server, err := dialServer(ctx, g.tracker.addr, key)
		if err != nil {
			return err
		}
		defer server.close()
		if err := server.offer(); err != nil {
			return err
		}
		client, err := newCustomer(ctx, g.tracker.addr, key)
		if err != nil {
			return err
		}
		defer client.close()
		_, err = client.grant(ctx)
		return err
	})
}

// session makes sessions on the server whose door is attacked.
func (g *goodPeers) session(ctx context.Context) {
	g.repeat(ctx, "a client has a session", func(ctx context.Context) error {
		c, err := newCustomer(ctx, g.tracker.addr, goodKey)
		if err != nil {
			return err
		}
		defer c.close()
		grant, err := c.grant(ctx)
		if err != nil {
			return err
		}
		s, err := visitServer(ctx, grant, time.Minute)
		if err != nil {
			return err
		}
		return s.Close()
	})
}

// native calls a method, as a client that has been there all the time and as a new one.
func (g *goodPeers) native(ctx context.Context) {
	stays, err := rpc.Dial(rpc.ClientOptions{}, g.calls.addr)
	defer func() { _ = stays.Close() }()
	g.repeat(ctx, "native callers are answered", func(ctx context.Context) error {
		if err != nil {
			return err
		}
		if err := echo(ctx, stays); err != nil {
			return fmt.Errorf("one that stays: %w", err)
		}
		comes, err := rpc.Dial(rpc.ClientOptions{}, g.calls.addr)
		if err != nil {
			return err //nolint:wrapcheck // it says all
		}
		if err := errors.Join(echo(ctx, comes), comes.Close()); err != nil {
			return fmt.Errorf("a new one: %w", err)
		}
		return nil
	})
}

func echo(ctx context.Context, c *rpc.Client) error {
	got, err := rpc.Call[string](ctx, c, "echo", goodKey)
	if err == nil && got != goodKey {
		err = fmt.Errorf("echo returned %q", got)
	}
	return err //nolint:wrapcheck // it says all
}

// grpc opens a session, calls a method in it, and closes it, over a connection of its own.
func (g *goodPeers) grpc(ctx context.Context) {
	g.repeat(ctx, "gRPC's callers are answered", func(ctx context.Context) error {
		cc, err := grpc.NewClient("passthrough:"+g.calls.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer func() { _ = cc.Close() }()
		client := pb.NewCallsClient(cc)
		opened, err := client.Open(ctx, &pb.OpenRequest{})
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		session := opened.GetSession()
		args := []byte("\x64good") // CBOR
		out, err := client.Invoke(ctx, &pb.InvokeRequest{Session: session, Seq: 1, Method: "echo", Args: args, Codec: uint32(codec.IDCBOR)})
		if err != nil {
			return fmt.Errorf("invoke: %w", err)
		}
		if !bytes.Equal(out.GetResult(), args) {
			return fmt.Errorf("echo returned % x", out.GetResult())
		}
		if _, err := client.Close(ctx, &pb.CloseRequest{Session: session}); err != nil {
			return fmt.Errorf("close: %w", err)
		}
		return nil
	})
}

// openGRPC opens a session that is left to its lease.
func openGRPC(ctx context.Context, addr string) (*pb.Session, error) {
	cc, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = cc.Close() }()
	opened, err := pb.NewCallsClient(cc).Open(ctx, &pb.OpenRequest{})
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	return opened.GetSession(), nil
}

// scrape reads the metrics.
func (g *goodPeers) scrape(ctx context.Context) {
	g.repeat(ctx, "metrics are read", func(ctx context.Context) error {
		for _, addr := range []string{g.tracker.metrics, g.server.metrics, g.calls.metrics} {
			if _, err := scrape(ctx, addr); err != nil {
				return err
			}
		}
		return nil
	})
}

// works are what good peers do, each a kind.
func (g *goodPeers) works() []func(context.Context) {
	return []func(context.Context){g.match, g.session, g.native, g.grpc, g.scrape}
}

// checks judges how good peers were served.
func (g *goodPeers) checks() []check {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := []check{{"good peers were at work", len(g.kinds) == len(g.works()), fmt.Sprintf("%d kinds", len(g.kinds))}}
	for kind, k := range g.kinds {
		worst := time.Duration(k.took.dist().Max * float64(time.Second))
		detail := fmt.Sprintf("%d times, %d failed, worst %s", len(k.took.values), k.failed, worst.Round(10*time.Microsecond))
		if k.first != nil {
			detail += ", first error: " + k.first.Error()
		}
		list = append(list, check{"meanwhile " + kind, k.failed == 0 && worst <= goodPeerLimit, detail})
	}
	return list
}
