package calls

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/registry"
)

// errFenced is why a life of a member ends before the member does.
var errFenced = errors.New("the lease at the registry has been lost")

// errJoining is why a server is not ready that clients have not been told of.
var errJoining = errors.New("the server joins the registry")

// loadEvery is how often a node learns how many calls wait.
const loadEvery = time.Second

// farewell is how long a server that goes takes calls after it has told the registry: 50
// ms later that tells clients.
const farewell = time.Second

// Member is a server that clients find by a registry. It takes calls at once, and goes on
// when the registry is away; clients keep what they were told last. With
// [JoinOptions.Fence] it is one server after another: each takes calls from when the
// registry has accepted it until its lease is lost.
//
//	        accepted            ctx ends: no service any more, 1 s, a drain
//	joining ────────▶ serving ────────────────────────────────────────────▶ left
//	   ▲                 │ lease lost: the workers are ended at once
//	   └─────────────────┘
//
// With a journal, then, the instance at the registry (its epoch) belongs to the table of calls:
// it survives the process together with it. A process that comes too late, when clients
// have been told that the instance is dead, sets the table aside: what waits in it must
// not run any more. Without a journal each process is another instance.
type Member struct {
	opts     Options
	join     JoinOptions
	instance *instance
	registry *rpc.Client
	server   atomic.Pointer[Server] // nil: it joins
	node     atomic.Pointer[naming.Node]
	known    atomic.Bool // the registry has accepted it, in this process or in one before
}

// NewMember makes a server that is to join a registry. It must be run.
func NewMember(opts Options, join JoinOptions) (*Member, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	if err := join.fill(); err != nil {
		return nil, err
	}
	m := &Member{opts: opts, join: join}
	var err error
	if m.instance, err = openInstance(opts.Journal); err != nil {
		return nil, fmt.Errorf("server of calls: %w", err)
	}
	m.known.Store(m.instance.life > 1)
	if m.registry, err = naming.Dial(join.Client, join.Tracker); err != nil {
		return nil, errors.Join(fmt.Errorf("server of calls: %w", err), m.instance.close())
	}
	return m, nil
}

// Run serves until ctx ends, and leaves the registry when what runs has ended.
func (m *Member) Run(ctx context.Context) error {
	defer func() { _ = m.instance.close() }()
	defer func() { _ = m.registry.Close() }()
	for {
		err := m.live(ctx)
		if !errors.Is(err, errFenced) {
			return err
		}
		m.opts.Log.Warn("workers were ended, joining anew", "err", err)
		if err := m.again(); err != nil {
			return err
		}
	}
}

// live is one life: it joins, serves, and leaves.
func (m *Member) live(parent context.Context) error {
	ctx, end := context.WithCancelCause(parent)
	defer end(nil)
	ended := make(chan struct{})
	node, at, err := m.start(ctx, func() {
		end(errFenced)
		if s := m.server.Load(); s != nil {
			s.Hurry()
		}
		<-ended // within 5 s
	})
	if err != nil {
		return errors.Join(err, closeAll(m.opts.Listeners))
	}
	m.node.Store(node)
	defer func() {
		if err := node.Close(); err != nil {
			m.opts.Log.Warn("left", "err", err)
		}
	}()
	defer close(ended)
	claim := registry.Claim{}
	if m.join.Fence {
		if claim, err = node.Ready(ctx); err != nil { // told to stop before it was accepted
			return closeAll(m.opts.Listeners)
		}
	}
	if err := m.accepted(claim); err != nil {
		return errors.Join(err, closeAll(m.opts.Listeners))
	}
	if err := m.serve(ctx, node, at); err != nil {
		return err
	}
	if err := m.instance.save(0); err != nil { // nothing is left in the table that could run
		return err
	}
	if cause := context.Cause(ctx); errors.Is(cause, errFenced) && parent.Err() == nil {
		return cause
	}
	return nil
}

// start begins to register.
func (m *Member) start(ctx context.Context, onFence func()) (*naming.Node, registry.Endpoints, error) {
	at, err := m.join.endpoints(ctx, m.opts.Listeners)
	if err != nil {
		return nil, at, err
	}
	o := naming.NodeOptions{
		ID: m.join.Name, Endpoints: at, Services: m.offered(), Secret: m.instance.secret,
		OnFence: onFence, Lasting: !m.join.Fence, Registrar: m.join.registrar, Log: m.opts.Log,
	}
	o.Registrar.Life = m.instance.life
	if o.ID == "" {
		o.ID = at.TCP
	}
	node, err := naming.Start(m.registry, o)
	if err != nil {
		return nil, at, fmt.Errorf("server of calls: %w", err)
	}
	return node, at, nil
}

func (m *Member) services() []registry.Service {
	return []registry.Service{{Name: m.join.Service, ID: m.join.Server}}
}

// accepted makes the table that of the epoch.
func (m *Member) accepted(claim registry.Claim) error {
	if was := m.instance.epoch; was != 0 && was != claim.Epoch {
		aside := m.opts.Journal + ".aside"
		m.opts.Log.Warn("clients were told that this server is dead: what its journal holds is set aside", "aside", aside)
		if err := os.Rename(m.opts.Journal, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("server of calls: %w", err)
		}
	}
	return m.instance.save(claim.Epoch)
}

// serve runs a server until ctx ends. Clients hear that it goes before it refuses what
// comes.
func (m *Member) serve(ctx context.Context, node *naming.Node, at registry.Endpoints) error {
	s, err := New(m.opts)
	if err != nil {
		return err
	}
	m.server.Store(s)
	defer m.server.Store(nil)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, either := errgroup.WithContext(ctx)
	group.Go(func() error { return s.Run(serving) })
	group.Go(func() error {
		defer stop()
		m.report(either, node, s, at)
		if ctx.Err() == nil || errors.Is(context.Cause(ctx), errFenced) {
			return nil
		}
		defer sleep.For(farewell, s.calm.Done()) // or until the server is hurried
		return node.Update(at, nil)              //nolint:wrapcheck // it names what is wrong
	})
	return group.Wait() //nolint:wrapcheck // they name what has failed
}

// offered are the services that clients are told of: none while the server lacks devices
// that it must have.
func (m *Member) offered() []registry.Service {
	if m.opts.devices.ready() != nil {
		return nil
	}
	return m.services()
}

// report tells a node of its load, of its devices and workers, and whether it is offered,
// until ctx ends.
func (m *Member) report(ctx context.Context, node *naming.Node, s *Server, at registry.Endpoints) {
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	given := m.services() // with the id that the registry gave, for the next time
	var trouble trouble
	for {
		node.SetLoad(uint32(s.Counts().Waiting))
		status := s.pool.Status()
		workers := trouble.next(time.Now(), serves(&status), whyNot(status.Err))
		node.SetNote(naming.Note{Devices: m.opts.devices.note(), Workers: workers}.String())
		switch now, wanted := node.Services(), m.offered(); {
		case len(now) > 0 && len(wanted) == 0:
			given = now
			_ = node.Update(at, nil) // which is no mistake
		case len(now) == 0 && len(wanted) > 0:
			if err := node.Update(at, given); err != nil {
				m.opts.Log.Warn("not offered again", "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// again makes what the next life needs: it is another instance, at the same addresses.
func (m *Member) again() error {
	if err := m.instance.renew(); err != nil {
		return err
	}
	for i, l := range m.opts.Listeners {
		var err error
		if m.opts.Listeners[i], err = listenAgain(l.Addr()); err != nil {
			return errors.Join(fmt.Errorf("server of calls: %w", err), closeAll(m.opts.Listeners[:i]))
		}
	}
	return nil
}

func listenAgain(at net.Addr) (net.Listener, error) {
	if at.Network() == "unix" {
		return listenUnix(at.String())
	}
	l, err := net.Listen(at.Network(), at.String()) //nolint:noctx // binding does not block
	if err != nil {
		return nil, fmt.Errorf("listen on %s again: %w", at, err)
	}
	return l, nil
}

func closeAll(listeners []net.Listener) error {
	var errs []error
	for _, l := range listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Alive returns nil unless only a new process helps.
func (m *Member) Alive() error {
	if s := m.server.Load(); s != nil {
		return s.Alive()
	}
	return nil
}

// Ready returns nil while at least one worker serves, from when the registry has accepted
// the server; else why not. Whoever replaces servers one by one must not count one that
// no client has been told of. Once it was accepted, it is ready without the registry, too.
func (m *Member) Ready() error {
	s, node := m.server.Load(), m.node.Load()
	if s != nil {
		if err := s.Ready(); err != nil || m.known.Load() {
			return err
		}
	}
	if node == nil {
		return errJoining
	}
	c := node.Condition()
	switch {
	case s != nil && c.Claim.Epoch != 0:
		m.known.Store(true)
		return nil
	case c.Cause != nil:
		return fmt.Errorf("%w: %w", errJoining, c.Cause)
	}
	return errJoining
}
