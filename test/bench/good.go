//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
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

// scrape reads the metrics.
func (g *goodPeers) scrape(ctx context.Context) {
	g.repeat(ctx, "metrics are read", func(ctx context.Context) error {
		for _, addr := range []string{g.tracker.metrics, g.server.metrics} {
			if _, err := scrape(ctx, addr); err != nil {
				return err
			}
		}
		return nil
	})
}

// checks judges how good peers were served.
func (g *goodPeers) checks() []check {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := []check{{"good peers were at work", len(g.kinds) == 3, fmt.Sprintf("%d kinds", len(g.kinds))}}
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
