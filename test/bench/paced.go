//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/tvm"
)

// pacedGrants measures grants of two trackers, one that is loaded with
// something and one that is not, and raw round trips: each at a fixed rate, in
// open loop, and all three at the same time, a third of a period apart. What the
// machine does meanwhile hits all of them.
type pacedGrants struct {
	plain, loaded *grantLoop
	floor         *peer
	every         time.Duration
	n             int
}

// grantLoop is one client and one server of one tracker.
type grantLoop struct {
	offers  *offers
	client  *peer
	request []byte
	length  int // of a grant's frame
}

// grantPace is one measurement.
type grantPace struct {
	plain, loaded, floor *sample
	floorIs              string
}

func newPacedGrants(ctx context.Context, plain, loaded, floor *service, every time.Duration, n int) (p *pacedGrants, err error) {
	p = &pacedGrants{every: every, n: n}
	if p.plain, err = newGrantLoop(ctx, plain.addr); err != nil {
		return nil, err
	}
	if p.loaded, err = newGrantLoop(ctx, loaded.addr); err != nil {
		return nil, err
	}
	if p.floor, err = dialPeer(ctx, floor.addr); err != nil {
		return nil, err
	}
	_, err = p.measure(ctx, n/5) // caches, heap, scheduler
	return p, err
}

func newGrantLoop(ctx context.Context, addr string) (l *grantLoop, err error) {
	l = &grantLoop{request: requestFrame(benchKey)}
	if l.offers, err = dialServer(ctx, addr, benchKey); err != nil {
		return nil, err
	}
	if l.client, err = dialTracker(ctx, addr); err != nil {
		return nil, err
	}
	if err := l.offers.offer(); err != nil {
		return nil, err
	}
	payload, err := l.client.call(l.request)
	if err != nil {
		return nil, err
	}
	l.length = tvm.FrameHeader + len(payload)
	return l, nil
}

func (p *pacedGrants) close() {
	for _, c := range []*peer{p.plain.offers.peer, p.plain.client, p.loaded.offers.peer, p.loaded.client, p.floor} {
		c.close()
	}
}

// measure makes n calls of each kind.
func (p *pacedGrants) measure(ctx context.Context, n int) (*grantPace, error) {
	length := p.loaded.length
	m := &grantPace{floorIs: fmt.Sprintf("raw TCP ping-pong of %d and %d bytes at the same pace and time", len(p.loaded.request), length)}
	message := floorMessage(len(p.loaded.request), length)
	pace := func(offset time.Duration) openLoop { return openLoop{every: p.every, offset: offset, n: n} }
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		m.plain, err = p.plain.run(ctx, pace(0))
		return err
	})
	group.Go(func() (err error) {
		m.loaded, err = p.loaded.run(ctx, pace(p.every/3))
		return err
	})
	group.Go(func() (err error) {
		m.floor, err = pace(2*p.every/3).run(ctx, func() error {
			_, err := p.floor.exchange(message, length)
			return err
		}, nil)
		return err
	})
	return m, group.Wait()
}

// run asks for a device at each turn of the pace. One is on offer whenever it
// is asked for: the next offer is made after a grant and before the next turn.
func (l *grantLoop) run(ctx context.Context, pace openLoop) (*sample, error) {
	if err := l.offers.offer(); err != nil {
		return nil, err
	}
	s, err := pace.run(ctx, func() error {
		_, err := l.client.exchange(l.request, l.length)
		return err
	}, l.offers.offer)
	if err != nil {
		return nil, err
	}
	_, err = l.client.exchange(l.request, l.length) // takes the offer that is left over
	return s, err
}

// rows are the loaded tracker's latencies, the plain one's at the same time,
// and how they compare.
func (g *grantPace) rows(load string) []*row {
	return []*row{
		latencies("grant with "+load, g.loaded).above(g.floor, g.floorIs),
		latencies("grant at the same time by a tracker without "+load, g.plain).above(g.floor, g.floorIs),
		number("grant p99 with/without "+load, times, g.loaded.quantile(0.99)/g.plain.quantile(0.99)).
			atMost(ofValue, p99Target),
	}
}

// p99Target is how much longer a grant's p99 may be with a load than without.
const p99Target = 2
