package rpc

import (
	"context"
	"errors"
	"sync"

	"rpcpool.dev/rpc/client"
)

// Future is the result of a call that was spawned.
type Future[R any] struct {
	done chan struct{}
	r    R
	err  error
	c    *Client // whose call it is, if it can promise its result; else nil
	u    *client.Call
	// number tells it from others of its client; 0: it has none.
	number uint64
}

// Done is closed when the call has ended.
func (f *Future[R]) Done() <-chan struct{} { return f.done }

// Get waits for the end of the call, and returns what [Call] would have. The end of ctx
// ends the wait, not the call.
func (f *Future[R]) Get(ctx context.Context) (R, error) {
	select {
	case <-f.done:
		return f.r, f.err
	default:
	}
	select {
	case <-f.done:
		return f.r, f.err
	case <-ctx.Done():
		var none R
		return none, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
	}
}

// Spawn is [Call] that does not wait: calls that are spawned run side by side, and none of
// them has a goroutine, unless the client has interceptors. The result is in the Future. The end of ctx ends the call; args
// must not be changed before the call has ended.
func Spawn[R any](ctx context.Context, c Caller, method string, args any, opts ...CallOption) *Future[R] {
	f := &Future[R]{done: make(chan struct{})}
	u := &client.Call{Method: method}
	for _, o := range opts {
		o(u)
	}
	f.of(c, u)
	c.start(ctx, u, args, &f.r, func(err error) {
		f.err = err
		close(f.done)
	})
	return f
}

// Group is calls that belong together: none of them outlives [Group.Sync].
//
//	g := rpc.NewGroup(ctx, rpc.GroupOptions{})
//	a := rpc.SpawnIn[int](g, c, "Fib", n-1)
//	b := rpc.SpawnIn[int](g, c, "Fib", n-2)
//	if err := g.Sync(); err != nil { … }
type Group struct {
	ctx    context.Context //nolint:containedctx // of all its calls
	cancel context.CancelFunc
	opts   GroupOptions
	slots  chan struct{}

	mu   sync.Mutex
	errs []error
	won  bool // one has a result
	wait sync.WaitGroup
}

// GroupOptions are how a Group goes about its calls.
type GroupOptions struct {
	// All lets the other calls go on when one has failed; Sync returns all errors. Default:
	// the first error cancels the others, and is what Sync returns.
	All bool
	// First ends the group with the first result: it cancels the others, and their errors are
	// nobody's. Sync returns all errors if there is no result.
	First bool
	// Limit bounds how many calls are under way: SpawnIn waits. 0: none.
	Limit int
}

// NewGroup makes a group. The end of ctx ends its calls. Sync must be called.
func NewGroup(ctx context.Context, opts GroupOptions) *Group {
	g := &Group{opts: opts}
	g.ctx, g.cancel = context.WithCancel(ctx)
	if opts.Limit > 0 {
		g.slots = make(chan struct{}, opts.Limit)
	}
	return g
}

// SpawnIn is [Spawn] in a group.
func SpawnIn[R any](g *Group, c Caller, method string, args any, opts ...CallOption) *Future[R] {
	f := &Future[R]{done: make(chan struct{})}
	u := &client.Call{Method: method}
	for _, o := range opts {
		o(u)
	}
	f.of(c, u)
	g.wait.Add(1)
	if g.slots != nil {
		select {
		case g.slots <- struct{}{}:
		case <-g.ctx.Done():
		}
	}
	c.start(g.ctx, u, args, &f.r, func(err error) {
		f.err = err
		close(f.done)
		g.ended(err)
	})
	return f
}

func (g *Group) ended(err error) {
	g.mu.Lock()
	if err != nil {
		g.errs = append(g.errs, err)
	}
	g.won = g.won || err == nil
	over := g.opts.First && g.won || !g.opts.First && !g.opts.All && len(g.errs) > 0
	g.mu.Unlock()
	if over {
		g.cancel()
	}
	if g.slots != nil {
		select {
		case <-g.slots:
		default: // it did not wait for one, the group was over
		}
	}
	g.wait.Done()
}

// Sync waits until all calls of the group have ended, and returns the first error, or, with
// All, every error; with First, every error or none.
func (g *Group) Sync() error {
	g.wait.Wait()
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opts.First && g.won {
		return nil
	}
	if g.opts.All || g.opts.First || len(g.errs) == 0 {
		return errors.Join(g.errs...)
	}
	return g.errs[0]
}
