//go:build linux

package main

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// guest is a client: it makes one session after another.
type guest struct {
	fleet   *fleet
	bounds  bounds
	tracker *tracker.Client
}

// Bounds of a guest's patience.
const (
	maxTries  = 200 // grants that lead to nothing, for one session
	retryTime = 20 * time.Millisecond
	// hangSlack is how much later than it must a session may end before its
	// client gives up: the checker decides before that.
	hangSlack = 30 * time.Second
	doorTime  = 15 * time.Second
)

// make runs a program and tells what was seen.
func (g *guest) make(ctx context.Context, p program) visit {
	v := visit{program: p, server: -1, end: endNotSent}
	if !p.way.granted() {
		g.knock(ctx, &v)
		return v
	}
	for tries := 0; tries < maxTries && ctx.Err() == nil; tries++ {
		grant, ok := g.grant(ctx)
		if !ok {
			pause(ctx, retryTime)
			continue
		}
		v.granted, v.server = time.Now(), g.serverAt(grant)
		if p.way == wayGhost {
			v.end, v.ended = endOwn, time.Now()
			return v
		}
		if done := g.visit(ctx, &v, grant); done {
			return v
		}
	}
	v.end = endNotSent
	return v
}

// grant asks the tracker for a device, and waits for one.
func (g *guest) grant(ctx context.Context) (tvm.Grant, bool) {
	if g.tracker == nil {
		dialCtx, cancel := context.WithTimeout(ctx, dialTime)
		defer cancel()
		c, err := tracker.Dial(dialCtx, g.fleet.address)
		if err != nil {
			return tvm.Grant{}, false
		}
		g.tracker = c
	}
	grant, err := g.tracker.Request(ctx, deviceKey, 1)
	if err != nil {
		g.close()
	}
	return grant, err == nil
}

func (g *guest) close() {
	if g.tracker != nil {
		_ = g.tracker.Close()
		g.tracker = nil
	}
}

func (g *guest) serverAt(grant tvm.Grant) int {
	addr := net.JoinHostPort(grant.Host, tvm.PortText(grant.Port))
	for _, s := range g.fleet.servers {
		if s.addr == addr {
			return s.index
		}
	}
	return -1
}

// visit shows a ticket and, if it is good, runs the program; done is false if
// another grant must be asked for.
func (g *guest) visit(ctx context.Context, v *visit, grant tvm.Grant) (done bool) {
	until := time.Now().Add(g.bounds.most(v.program, false) + hangSlack)
	t, err := dial(ctx, v.program.number, net.JoinHostPort(grant.Host, tvm.PortText(grant.Port)), until)
	if err != nil {
		v.miss(endUnreached)
		return false // it died meanwhile
	}
	defer t.close()
	err = t.handshake(grant.MatchKey, v.program.timeout)
	switch {
	case errors.Is(err, tvm.ErrMismatch):
		v.miss(endMismatch)
		return false // its successor has other tickets
	case err != nil:
		v.end, v.ended, v.text = endUnclear, time.Now(), err.Error()
		return true
	}
	v.admitted = time.Now()
	if err = perform(t, v); v.ended.IsZero() {
		v.ended = time.Now()
	}
	v.end, v.text = endOf(err)
	return true
}

func (v *visit) miss(e end) {
	v.misses = append(v.misses, miss{server: v.server, at: time.Now(), end: e})
}

// knock comes to a door without a ticket that is good.
func (g *guest) knock(ctx context.Context, v *visit) {
	p := v.program
	v.server = int(p.pick % uint64(len(g.fleet.servers)))
	v.granted = time.Now()
	defer func() { v.ended = time.Now() }()
	t, err := dial(ctx, p.number, g.fleet.servers[v.server].addr, time.Now().Add(doorTime))
	if err != nil {
		v.end = endUnreached
		return
	}
	defer t.close()
	hello := tvm.AppendClientHello(nil, deviceKey+":stale", p.timeout)
	switch p.way {
	case wayDoorJunk:
		_, _ = t.conn.Write(junk(p))
	case wayDoorCut:
		_, _ = t.conn.Write(hello[:1+p.pick%uint64(len(hello)-1)])
		v.end = endOwn
		return
	case wayDoorStale:
		if err := t.handshake(deviceKey+":stale", p.timeout); errors.Is(err, tvm.ErrMismatch) {
			v.end = endMismatch
		} else {
			v.end, v.text = endOf(err)
		}
		return
	default: // silent
	}
	_, err = t.conn.Read(make([]byte, 1))
	v.end, v.text = endOf(err)
	if errors.Is(err, syscall.ECONNRESET) {
		v.end = endReset
	}
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
