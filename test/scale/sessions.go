//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/internal/kubetest"
	"rpcpool.dev/tracker"
)

// runSessions has clients run sessions on the pool, and counts what the operator
// writes meanwhile.
func (l *lab) runSessions(ctx context.Context) error {
	l.say("%d sessions of %d clients", l.sessions, l.clients)
	audit, err := l.server.Audit()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := l.serveAll(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	const settled = 2 * time.Second
	if err := pause(ctx, settled); err != nil {
		return err
	}
	writes, err := audit.Requests(writesOf(operatorUser))
	if err != nil {
		return err
	}
	status, others := split(writes)
	l.add(fmt.Sprintf("%d sessions over", l.sessions), seconds, took.Seconds(),
		fmt.Sprintf("%d clients at a time, %s each on average", l.clients, l.session))
	l.limited("writes of status", rate, float64(len(status))/(took+settled).Seconds(), mostStatusWrites, kinds(status))
	l.limited("other writes", count, float64(len(others)), 0, kinds(others))
	return nil
}

// serveAll runs the sessions.
func (l *lab) serveAll(ctx context.Context) error {
	var left atomic.Int64
	left.Store(int64(l.sessions))
	group, ctx := errgroup.WithContext(ctx)
	for range l.clients {
		group.Go(func() error { return l.customer(ctx, &left) })
	}
	return group.Wait()
}

// customer runs sessions until none is left.
func (l *lab) customer(ctx context.Context, left *atomic.Int64) error {
	c, err := tracker.Dial(ctx, l.fleet.address)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // nothing is on its way
	for left.Add(-1) >= 0 {
		grant, err := c.Request(ctx, l.fleet.key, 0)
		if err != nil {
			return err
		}
		over := make(chan struct{})
		length := l.session/2 + rand.N(l.session+1) //nolint:gosec // needs no secret
		if err := l.fleet.admit(grant.MatchKey, visit{client: c.LocalAddr().String(), length: length, over: over}); err != nil {
			return err
		}
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// of matches the requests of a user.
func of(user string) func(kubetest.Request) bool {
	return func(r kubetest.Request) bool { return r.User == user }
}

// writesOf matches those that change something; a lease says only who leads.
func writesOf(user string) func(kubetest.Request) bool {
	return func(r kubetest.Request) bool { return r.User == user && r.Write() && r.Resource != "leases" }
}

// split tells writes of a pool's status from others.
func split(requests []kubetest.Request) (status, others []kubetest.Request) {
	for _, r := range requests {
		if r.Resource == "rpcpools/status" {
			status = append(status, r)
		} else {
			others = append(others, r)
		}
	}
	return status, others
}

// kinds counts requests by what they were.
func kinds(requests []kubetest.Request) string {
	n := map[string]int{}
	for _, r := range requests {
		n[r.Verb+" "+r.Resource]++
	}
	parts := make([]string, 0, len(n))
	for _, kind := range slices.SortedFunc(maps.Keys(n), func(a, b string) int {
		if n[a] != n[b] {
			return n[b] - n[a]
		}
		return strings.Compare(a, b)
	}) {
		parts = append(parts, fmt.Sprintf("%d %s", n[kind], kind))
	}
	return strings.Join(parts, ", ")
}
