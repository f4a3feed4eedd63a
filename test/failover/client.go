//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

// guest is a client: it uses one device after another.
type guest struct {
	number    int
	service   *service
	operators *operators
	history   *history
	random    *rand.Rand

	conn     *tracker.Client // nil: none
	operator int             // at its end
}

// Times of a guest.
const (
	dialTime    = 3 * time.Second
	sessionTime = time.Minute // no session takes so long
	retryLeast  = 50 * time.Millisecond
	// longOneIn of the sessions lasts seconds.
	longOneIn = 100
	// impatientOneIn of the clients does not wait longer than this for a device,
	// and asks anew. All others wait as long as their tracker lives.
	impatientOneIn = 3
	impatience     = time.Second
)

// load is all guests.
type load struct {
	guests sync.WaitGroup
	over   chan struct{} // closed: no visit is begun any more
	cancel context.CancelFunc
}

// startLoad starts clients.
func (l *lab) startLoad(ctx context.Context) *load {
	work := &load{over: make(chan struct{})}
	ctx, work.cancel = context.WithCancel(ctx)
	for i := range l.clients {
		g := &guest{
			number: i, service: l.service, operators: l.operators, history: l.history,
			random: rand.New(rand.NewPCG(l.seed, uint64(i)+1)), //nolint:gosec // to be repeated, not to be secret
		}
		work.guests.Go(func() { g.run(ctx, work.over) })
	}
	return work
}

// stop waits until each client has ended what it was about; those that have not
// after a while are interrupted.
func (w *load) stop() {
	close(w.over)
	interrupt := time.AfterFunc(waitMost, w.cancel)
	w.guests.Wait()
	interrupt.Stop()
	w.cancel()
}

func (g *guest) run(ctx context.Context, over <-chan struct{}) {
	defer g.hangUp()
	for {
		select {
		case <-over:
			return
		default:
		}
		v := g.history.begin(g.number)
		why, err := g.visit(ctx, v)
		if err == nil {
			continue
		}
		v.failed, v.why, v.err = time.Now(), why, err.Error()
		if ctx.Err() != nil {
			if v.granted.IsZero() {
				v.why = failWaiting
			}
			return
		}
		if why == failTracker {
			g.hangUp()
			pause(ctx, retryLeast+g.upTo(retryLeast))
		}
	}
}

func (g *guest) hangUp() {
	if g.conn != nil {
		_ = g.conn.Close()
		g.conn = nil
	}
}

func (g *guest) upTo(d time.Duration) time.Duration { return time.Duration(g.random.Int64N(int64(d))) }

// visit asks for a device, and uses it.
func (g *guest) visit(ctx context.Context, v *visit) (why failure, err error) {
	if err := g.dial(ctx); err != nil {
		return failTracker, err
	}
	grant, err := g.ask(ctx)
	if err != nil {
		return failTracker, err
	}
	v.granted, v.operator, v.ticket = time.Now(), g.operator, grant.MatchKey
	v.device = net.JoinHostPort(grant.Host, tvm.PortText(grant.Port))
	g.history.granted(g.operator, v.granted)

	ctx, cancel := context.WithTimeout(ctx, sessionTime)
	defer cancel()
	s, err := client.Dial(ctx, v.device, v.ticket, client.Options{})
	var unreached *net.OpError
	switch {
	case errors.Is(err, client.ErrMismatch):
		return failDoor, err
	case errors.As(err, &unreached) && unreached.Op == "dial":
		return failReach, err
	case err != nil:
		return failSession, err
	}
	v.entered = time.Now()
	g.history.entered(v.device, v.entered)
	err = g.use(ctx, s)
	if err == nil {
		v.left = time.Now()
	}
	return failSession, errors.Join(err, s.Close())
}

// dial connects to the tracker, unless it is connected.
func (g *guest) dial(ctx context.Context) error {
	if g.conn != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := tracker.Dial(ctx, g.service.address())
	if err != nil {
		return err
	}
	to, ok := g.service.endpointOf(c.LocalAddr().String())
	if !ok {
		return errors.Join(errors.New("the connection has ended"), c.Close())
	}
	g.conn, g.operator = c, g.operators.number(to.host)
	return nil
}

// ask waits for a device.
func (g *guest) ask(ctx context.Context) (tvm.Grant, error) {
	if g.number%impatientOneIn == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, impatience+g.upTo(impatience))
		defer cancel()
	}
	return g.conn.Request(ctx, poolName, 1)
}

// use is a session: a call, a while, and another call.
func (g *guest) use(ctx context.Context, s *client.Session) error {
	if err := g.call(ctx, s); err != nil {
		return err
	}
	const least, spread = 5 * time.Millisecond, 45 * time.Millisecond
	length := least + g.upTo(spread)
	if g.random.IntN(longOneIn) == 0 {
		const leastLong, spreadLong = 2 * time.Second, 6 * time.Second
		length = leastLong + g.upTo(spreadLong)
	}
	pause(ctx, length)
	return g.call(ctx, s)
}

// call has the server add one.
func (g *guest) call(ctx context.Context, s *client.Session) error {
	n := g.random.Int64N(1 << 40)
	got, err := s.Call(ctx, "test.addone", n)
	if err == nil && got != n+1 {
		err = fmt.Errorf("%d plus one is %v", n, got)
	}
	return err
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
