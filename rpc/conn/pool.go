package conn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/frame"
)

// PoolOptions of a Pool. Handler must be set; the zero value of each other field
// means its default.
type PoolOptions struct {
	Handler        Handler       // of all connections
	Hello          frame.Hello   // who the client is; limits and versions are filled in
	Token          func() []byte // credentials for a connection that is made now. Default: the Hello's
	Conn           Options       // of all connections. Checksum is for plain TCP only
	Node           string        // boot id of the node that this process runs on
	IdleTimeout    time.Duration // a connection without references is closed after it, and within 1.25 of it. Default 30 s; negative: never
	ConnectTimeout time.Duration // for dialling and handshake. Default 8 s
	MaxConns       int           // at the same time; idle ones make room. Default 512
	Backoff        Backoff
	Dial           Dial             // default: net.Dialer
	Ticker         Ticker           // of the idle timeout and keepalive. Default: the monotonic clock
	Now            func() time.Time // of the backoff. Default: time.Now
	// Elapsed tells whether this process stands still while it connects. Default: the machine's clock, which goes on while that sleeps.
	Elapsed func() time.Duration
}

func (o PoolOptions) withDefaults() (PoolOptions, error) {
	var err error
	if o.Conn, err = o.Conn.withDefaults(); err != nil {
		return o, err
	}
	if o.Handler == nil {
		return o, errors.New("bad option Handler: it is not set")
	}
	setTime(&o.IdleTimeout, 30*time.Second)
	setTime(&o.ConnectTimeout, 8*time.Second)
	setTime(&o.Backoff.First, 100*time.Millisecond)
	setTime(&o.Backoff.Most, 10*time.Second)
	setInt(&o.MaxConns, 512)
	if o.MaxConns < 0 || o.ConnectTimeout < 0 || o.Backoff.First < 0 || o.Backoff.Most < o.Backoff.First {
		return o, errors.New("bad options: something is negative, or the backoff shrinks")
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Ticker == nil {
		o.Ticker = realTicker
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Elapsed == nil {
		o.Elapsed = elapsedHere
	}
	return o, nil
}

// Pool has the connections of this process to all servers that it knows. A
// server of several services has one connection.
type Pool struct {
	opts   PoolOptions
	ctx    context.Context //nolint:containedctx // ends dialling when the pool is closed
	cancel context.CancelCauseFunc
	keeper *keeper
	now    func() time.Time
	slots  chan struct{} // one for each connection
	hungry atomic.Int32  // those that wait for a slot

	mu        sync.Mutex // a front end's lock may be held when it is taken, not the other way round
	closed    bool
	frontends map[string]*FrontEnd // by ID
	dials     sync.WaitGroup
}

// NewPool returns a pool without servers. It must be closed.
func NewPool(opts PoolOptions) (*Pool, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Pool{opts: opts, now: opts.Now, slots: make(chan struct{}, opts.MaxConns), frontends: map[string]*FrontEnd{}}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.keeper = &keeper{idle: max(opts.IdleTimeout, 0), alive: opts.Conn.Keepalive, reap: func(c *Conn) { go c.finish() }}
	p.keeper.start(opts.Ticker)
	return p, nil
}

// Close closes all connections at once, and waits until nothing of the pool runs.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	all := p.frontends
	p.frontends = map[string]*FrontEnd{}
	p.mu.Unlock()
	p.cancel(ErrClosed)
	for _, f := range all {
		f.remove()
	}
	p.dials.Wait()
	for _, c := range p.keeper.all() {
		_ = c.Close()
		<-c.Done()
	}
	p.keeper.stop()
	return nil
}

// spawn starts a goroutine that Close waits for.
func (p *Pool) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.dials.Go(f)
	return true
}

// slot waits for the right to one more connection. Idle ones are closed for it.
func (p *Pool) slot(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	p.hungry.Add(1)
	defer p.hungry.Add(-1)
	p.evict()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d connections are in use: %w", cap(p.slots), context.Cause(ctx))
	}
}

func (p *Pool) free() { <-p.slots }

// idle is told that nobody holds a connection any more.
func (p *Pool) idle() {
	if p.hungry.Load() > 0 {
		p.evict()
	}
}

// evict closes the connection that has been idle for the longest time.
func (p *Pool) evict() {
	if c := p.keeper.oldest(); c != nil {
		go c.finish()
	}
}

// Service is a list of servers that do the same.
type Service struct {
	pool *Pool
	name string
	list atomic.Pointer[[]*FrontEnd]
	mu   sync.Mutex // of Update
}

// Service returns a service without servers.
func (p *Pool) Service(name string) *Service {
	s := &Service{pool: p, name: name}
	s.list.Store(&[]*FrontEnd{})
	return s
}

// FrontEnds returns those of the service's servers.
func (s *Service) FrontEnds() []*FrontEnd { return *s.list.Load() }

// Update replaces the list of servers. Those that stay keep their connections;
// what is outstanding at those that go, goes on.
func (s *Service) Update(endpoints []Endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := *s.list.Load()
	list := make([]*FrontEnd, 0, len(endpoints))
	seen := map[string]bool{}
	for _, e := range endpoints {
		if e.ID == "" || seen[e.ID] {
			s.pool.unlist(list)
			return fmt.Errorf("service %q: server id %q is empty, or there twice", s.name, e.ID)
		}
		seen[e.ID] = true
		f, err := s.pool.frontend(e)
		if err != nil {
			s.pool.unlist(list)
			return err
		}
		list = append(list, f)
	}
	s.list.Store(&list)
	s.pool.unlist(was)
	return nil
}

// frontend returns the front end of an endpoint, listed once more. If its server
// has moved, it is another one.
func (p *Pool) frontend(e Endpoint) (*FrontEnd, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	f := p.frontends[e.ID]
	if f == nil || f.endpoint != e {
		f = &FrontEnd{pool: p, endpoint: e}
		p.frontends[e.ID] = f
	}
	f.services++
	return f, nil
}

func (p *Pool) unlist(list []*FrontEnd) {
	for _, f := range list {
		p.mu.Lock()
		f.services--
		last := f.services == 0
		if last && p.frontends[f.endpoint.ID] == f {
			delete(p.frontends, f.endpoint.ID)
		}
		p.mu.Unlock()
		if last {
			f.remove()
		}
	}
}

// Acquire returns a reference to one of the service's servers: of two at random,
// the one with less outstanding; if that one cannot be reached, each of the
// others is tried once. It fails with [ErrNoServer] at once if all of them failed
// a moment ago. Nothing has been sent then.
func (s *Service) Acquire(ctx context.Context) (Ref, error) {
	list := *s.list.Load()
	if len(list) == 0 {
		return Ref{}, fmt.Errorf("%w of service %q is known", ErrNoServer, s.name)
	}
	first := pick(list)
	r, err := list[first].acquire(ctx)
	if err == nil {
		return r, nil
	}
	return s.failover(ctx, list, first, err)
}

// failover tries the others that did not fail a moment ago, those that never did first.
func (s *Service) failover(ctx context.Context, list []*FrontEnd, tried int, why error) (Ref, error) {
	errs := []error{why}
	var order, late []int
	for _, i := range rand.Perm(len(list)) { //nolint:gosec // spreads load, hides nothing
		if list[i].Resting() {
			late = append(late, i)
		} else {
			order = append(order, i)
		}
	}
	for _, i := range append(order, late...) {
		if i == tried || list[i].alone() {
			continue
		}
		if ctx.Err() != nil {
			return Ref{}, context.Cause(ctx)
		}
		r, err := list[i].acquire(ctx)
		if err == nil {
			return r, nil
		}
		errs = append(errs, err)
	}
	if ctx.Err() != nil {
		return Ref{}, context.Cause(ctx)
	}
	return Ref{}, fmt.Errorf("%w of service %q can be reached: %w", ErrNoServer, s.name, errors.Join(errs...))
}

// AcquireID is Acquire for one certain server of the service.
func (s *Service) AcquireID(ctx context.Context, id string) (Ref, error) {
	for _, f := range *s.list.Load() {
		if f.endpoint.ID == id {
			return f.acquire(ctx)
		}
	}
	return Ref{}, fmt.Errorf("%w with id %q in service %q", ErrNoServer, id, s.name)
}

// pick returns the better of two at random.
func pick(list []*FrontEnd) int {
	if len(list) == 1 {
		return 0
	}
	i := rand.IntN(len(list))     //nolint:gosec // spreads load, hides nothing
	j := rand.IntN(len(list) - 1) //nolint:gosec // spreads load, hides nothing
	if j >= i {
		j++
	}
	if list[i].worse(list[j]) {
		i, j = j, i
	}
	list[j].Revive()
	return i
}

// worse tells whether g is to be preferred: f is left alone, or has more
// outstanding.
func (f *FrontEnd) worse(g *FrontEnd) bool {
	if r := f.Resting(); r != g.Resting() {
		return r
	}
	return f.refs.Load() > g.refs.Load()
}
