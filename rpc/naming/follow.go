package naming

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/registry"
)

// FollowOptions of a Follower. The zero value of each field means its default.
type FollowOptions struct {
	First time.Duration // pause after the registry was lost; it doubles. Default 100 ms
	Most  time.Duration // longest pause. Default 5 s
	Log   *slog.Logger  // default: none
}

// Follower knows all nodes, and tells clients of them. While there is no registry it
// knows what it knew. It is safe for concurrent use.
type Follower struct {
	opts     FollowOptions
	registry rpc.Caller
	view     *registry.View
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu    sync.Mutex
	feeds []*feed
	err   error // of the last time that it ended; nil: something has come since
}

// feed is a client whose servers are those of a service.
type feed struct {
	service string
	client  *rpc.Client
	told    []registry.Endpoint
	alive   map[string]uint64 // epochs of instances that it has been told of, and not that they are dead
}

// Follow begins to follow the registry that the client calls. It must be closed.
func Follow(registryClient rpc.Caller, opts FollowOptions) *Follower {
	if opts.First <= 0 {
		opts.First = 100 * time.Millisecond
	}
	if opts.Most <= 0 {
		opts.Most = 5 * time.Second
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	f := &Follower{opts: opts, registry: registryClient, view: registry.NewView()}
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(context.Background())
	f.running.Go(func() { f.run(ctx) })
	return f
}

// Close ends following. Clients keep the servers that they have.
func (f *Follower) Close() error {
	f.cancel()
	f.running.Wait()
	return nil
}

// Err is why the registry is not followed, nil as long as that is not known.
func (f *Follower) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *Follower) setErr(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// View is what the follower knows.
func (f *Follower) View() *registry.View { return f.view }

// Feed makes a client's servers those of a service, until the follower or the client is
// closed. The id of a server is that of its node's instance.
func (f *Follower) Feed(service string, c *rpc.Client) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := &feed{service: service, client: c, alive: map[string]uint64{}}
	f.feeds = append(f.feeds, d)
	return d.update(f.view)
}

// Server sends a call to one server of a service, and to no other. It fails with
// registry.ErrNoServer.
func (f *Follower) Server(service string, id uint64) (rpc.CallOption, error) {
	s, err := f.view.Server(service, id)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	return rpc.At(s.Node.Endpoint().ID), nil
}

// Rank sends a call to the node with a rank, and to no other. It fails with
// registry.ErrNoServer.
func (f *Follower) Rank(rank uint32) (rpc.CallOption, error) {
	n, err := f.view.Rank(rank)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	return rpc.At(n.Endpoint().ID), nil
}

// run watches, again and again.
func (f *Follower) run(ctx context.Context) {
	p := pauses{f.opts.First, f.opts.Most}
	for {
		news, err := f.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		f.setErr(err)
		if news {
			p.next = f.opts.First
		}
		f.opts.Log.Warn("registry is not followed, trying again", "version", f.view.Version(), "err", err)
		if !p.wait(ctx) {
			return
		}
	}
}

// watch applies what comes until there is no more, or a gap: the next one begins where
// the view is then. It tells whether anything came.
func (f *Follower) watch(ctx context.Context) (news bool, err error) {
	s, err := rpc.OpenStream[[]byte, []byte](ctx, f.registry, methodWatch, f.view.Version())
	if err != nil {
		return false, refusalOf(err)
	}
	defer func() { _ = s.Close() }() // how it ended is known
	for {
		b, err := s.Recv(ctx)
		if err != nil {
			return news, refusalOf(err)
		}
		u, err := registry.Decode[registry.Update](b)
		if err == nil {
			err = f.view.Apply(u)
		}
		if err != nil {
			return news, fmt.Errorf("update of the registry: %w", err)
		}
		news = true
		f.setErr(nil)
		f.updateAll()
	}
}

func (f *Follower) updateAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.feeds = slices.DeleteFunc(f.feeds, func(d *feed) bool {
		err := d.update(f.view)
		if err != nil {
			f.opts.Log.Warn("client cannot use its servers", "service", d.service, "err", err)
		}
		return errors.Is(err, conn.ErrClosed)
	})
}

// update tells a client what has changed: first who is dead, so that what is open there
// ends, and then who is there.
func (d *feed) update(v *registry.View) error {
	d.fence(v)
	now := v.Endpoints(d.service)
	if slices.Equal(now, d.told) {
		return nil
	}
	list := make([]conn.Endpoint, len(now))
	for i, e := range now {
		list[i] = conn.Endpoint{ID: e.ID, Node: e.Boot, Unix: e.Unix, TCP: e.TCP}
	}
	if err := d.client.Update(list); err != nil {
		return err //nolint:wrapcheck // it names the service
	}
	d.told = now
	for _, e := range now {
		d.alive[e.ID] = e.Epoch
	}
	return nil
}

// fence tells of those instances that the registry has no more: it says so only when they
// have ended their workers.
func (d *feed) fence(v *registry.View) {
	if len(d.alive) == 0 {
		return
	}
	there := make(map[string]bool, len(d.alive))
	for _, n := range v.Nodes() {
		there[n.Endpoint().ID] = true
	}
	for id, epoch := range d.alive {
		if !there[id] {
			if !registry.Lasting(epoch) {
				d.client.Fenced(id)
			}
			delete(d.alive, id)
		}
	}
}
