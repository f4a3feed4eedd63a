package conn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// State is a front end's.
type State uint8

// States of a front end.
const (
	Disconnected State = iota
	Connecting
	Connected
	EPIPE    // failed a moment ago, and left alone
	Draining // removed from the list; what is outstanding goes on
)

// String returns the state's word.
func (s State) String() string {
	if s > Draining {
		return "state?"
	}
	return [...]string{"DISCONNECTED", "CONNECTING", "CONNECTED", "EPIPE", "DRAINING"}[s]
}

// FrontEnd is this process' side of one server: no connection, or one.
type FrontEnd struct {
	pool     *Pool
	endpoint Endpoint
	conn     atomic.Pointer[Conn] // to be tried; may be closed meanwhile
	refs     atomic.Int32         // references that were given out, and those who wait for them
	services int                  // that list it; under the pool's lock

	mu       sync.Mutex
	dial     *dial // under way
	local    *Local
	route    Route
	failures int       // in a row
	until    time.Time // left alone until then
	why      error     // of the last failure
	broke    bool      // that was the end of a connection: nothing says that a new one fails
	removed  bool
}

// slowDial is how long an attempt may take before others are preferred to the server.
const slowDial = 250 * time.Millisecond

// dial is one attempt, shared by all who wait for it.
type dial struct {
	began time.Time
	done  chan struct{}
	conn  *Conn
	err   error
}

// Ref is a reference to a peer. While it is held, the connection is not reaped.
type Ref struct {
	Peer Peer
	From *FrontEnd
}

// Release gives the reference back. It must be called once.
func (r Ref) Release() {
	r.From.refs.Add(-1)
	r.Peer.Release()
}

// Endpoint returns where the server is.
func (f *FrontEnd) Endpoint() Endpoint { return f.endpoint }

// State returns what the front end is doing, and the way that its connection
// takes or took last.
func (f *FrontEnd) State() (State, Route) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.conn.Load()
	switch {
	case f.removed:
		return Draining, f.route
	case c != nil && c.Err() == nil, f.local != nil:
		return Connected, f.route
	case f.dial != nil:
		return Connecting, f.route
	case f.pool.now().Before(f.until):
		return EPIPE, f.route
	}
	return Disconnected, f.route
}

// acquire returns a reference to the server, and connects if need be. The
// reference counts as load from the beginning.
func (f *FrontEnd) acquire(ctx context.Context) (Ref, error) {
	f.refs.Add(1)
	p, err := f.peer(ctx)
	if err != nil {
		f.refs.Add(-1)
		return Ref{}, fmt.Errorf("server %q: %w", f.endpoint.ID, err)
	}
	return Ref{Peer: p, From: f}, nil
}

// peer returns the server's connection, held.
func (f *FrontEnd) peer(ctx context.Context) (Peer, error) {
	for {
		if c := f.conn.Load(); c != nil && c.Hold() {
			return c, nil
		}
		d, local, err := f.connecting()
		switch {
		case err != nil:
			return nil, err
		case local != nil && local.Hold():
			return local, nil
		case d == nil:
			continue
		}
		select {
		case <-d.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
		}
		if d.err != nil {
			return nil, d.err
		}
	}
}

// connecting returns the attempt that is under way; it starts one if there is
// none, unless the server is to be left alone. It returns nothing if there is a
// connection meanwhile.
func (f *FrontEnd) connecting() (*dial, *Local, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.removed {
		return nil, nil, ErrRemoved
	}
	if f.endpoint.Local != nil {
		return f.attach()
	}
	if c := f.conn.Load(); c != nil && c.Hold() {
		c.Release()
		return nil, nil, nil
	}
	if f.dial != nil {
		return f.dial, nil, nil
	}
	if f.pool.now().Before(f.until) && !f.broke {
		return nil, nil, fmt.Errorf("%w: %w", ErrBackoff, f.why)
	}
	d := &dial{began: f.pool.now(), done: make(chan struct{})}
	if !f.pool.spawn(func() { f.connect(d) }) {
		return nil, nil, ErrClosed
	}
	f.dial = d
	return d, nil, nil
}

// attach connects to a server in this process.
func (f *FrontEnd) attach() (*dial, *Local, error) {
	if f.local == nil || f.local.Err() != nil {
		local, err := f.endpoint.Local.Attach(f.pool.opts.Handler)
		if err != nil {
			return nil, nil, err
		}
		f.local = local
		f.route = Routes("", &f.endpoint)[0]
	}
	return nil, f.local, nil
}

// connect is an attempt, and another one if this process stood still during the first. Nobody's lock is held meanwhile.
func (f *FrontEnd) connect(d *dial) {
	var route Route
	var still bool
	if d.conn, route, still, d.err = f.try(); still && d.err != nil && f.pool.ctx.Err() == nil {
		d.conn, route, _, d.err = f.try()
	}
	f.mu.Lock()
	f.dial, f.broke = nil, false
	if d.err != nil {
		f.failed(d.err)
	} else {
		f.route, f.failures = route, 0
		f.conn.Store(d.conn)
		if f.removed {
			d.conn.Shut()
		}
	}
	f.mu.Unlock()
	close(d.done)
}

// try dials the server once, and tells whether this process has stood still meanwhile: then the server had no
// chance, or has given the client up.
func (f *FrontEnd) try() (c *Conn, route Route, still bool, err error) {
	ctx, cancel := context.WithTimeout(f.pool.ctx, f.pool.opts.ConnectTimeout)
	defer cancel()
	n := &f.pool.keeper.counts
	n.dials.Add(1)
	alive := startPulse(f.pool.opts.Elapsed)
	c, route, err = f.pool.connect(ctx, f)
	if still = alive.stop(); err != nil {
		n.failed.Add(1)
	}
	return c, route, still, err
}

// failed leaves the server alone for a while.
func (f *FrontEnd) failed(why error) {
	f.failures++
	f.why = why
	f.until = f.pool.now().Add(f.pool.opts.Backoff.pause(f.failures, random()))
}

// lost is told that the connection has ended. If it broke, others are preferred to the
// server for a while; if there are none, it is dialled at once, and left alone if that
// fails too.
func (f *FrontEnd) lost(c *Conn, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.conn.CompareAndSwap(c, nil) {
		return
	}
	if !errors.Is(why, ErrClosed) && !errors.Is(why, ErrPeerClosed) {
		f.failed(why)
		f.broke = true
	}
}

// Resting tells whether the server has failed, or takes its time to answer, and has not been
// reached since: others are preferred to it.
func (f *FrontEnd) Resting() bool {
	if f.conn.Load() != nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failures > 0 || f.dial != nil && f.pool.now().Sub(f.dial.began) > slowDial
}

// alone tells whether the server is not to be tried yet.
func (f *FrontEnd) alone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn.Load() == nil && f.pool.now().Before(f.until)
}

// Revive sees to it that a server that has failed is tried again, when it has been left
// alone for long enough. Nobody has to wait for that, who has another.
func (f *FrontEnd) Revive() {
	f.mu.Lock()
	due := f.failures > 0 && !f.pool.now().Before(f.until)
	f.mu.Unlock()
	if due {
		_, _, _ = f.connecting() // unless somebody does already; whether it can be reached is seen then
	}
}

// remove lets nobody acquire any more.
func (f *FrontEnd) remove() {
	f.mu.Lock()
	f.removed = true
	local := f.local
	f.mu.Unlock()
	if c := f.conn.Load(); c != nil {
		c.Shut()
	}
	if local != nil {
		local.Shut()
	}
}

// connect makes a connection to a front end's server.
func (p *Pool) connect(ctx context.Context, f *FrontEnd) (*Conn, Route, error) {
	if err := p.slot(ctx); err != nil {
		return nil, Route{}, err
	}
	nc, route, err := dialRoutes(ctx, &p.opts, &f.endpoint)
	if err != nil {
		p.free()
		return nil, route, err
	}
	opts := p.opts.Conn
	opts.Checksum = opts.Checksum && route.Transport == TransportTCP
	kept := make(chan struct{})
	hello := p.opts.Hello
	if p.opts.Token != nil {
		hello.Token = p.opts.Token()
	}
	c, err := connect(ctx, nc, hello, p.opts.Handler, opts, owner{
		clock: &p.keeper.now,
		ended: f.lost,
		idle:  p.idle,
		over: func(c *Conn) {
			<-kept
			p.keeper.remove(c)
			p.free()
		},
	})
	if err != nil {
		p.free()
		return nil, route, err
	}
	p.keeper.add(c)
	close(kept)
	return c, route, nil
}
