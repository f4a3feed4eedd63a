package naming

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	randv2 "math/rand/v2"
	"sync"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/registry"
)

// ErrClosed says that the node has left.
var ErrClosed = errors.New("the node has left the registry")

// NodeOptions of a Node. ID must be set.
type NodeOptions struct {
	ID        string // the node's name: another one with it is refused while this one lives
	Endpoints registry.Endpoints
	Services  []registry.Service // id 0: the registry gives one
	Secret    registry.Secret    // of an instance that outlives its process (Registrar.Life). Default: a new one
	// OnFence is called when the lease has been lost: the node has 5 s in which it must
	// stop to serve. When it returns, whatever ran for the lost epoch has ended,
	// and the node registers anew. It must not close the node, which waits for it.
	// Default: nothing has to end.
	OnFence func()
	// Lasting: what runs goes on without a lease, until the registry answers again, and
	// nobody is ever told that it has ended. OnFence is not called.
	Lasting bool
	// Registrar has times for tests, and Life. What is set above and Random are filled in.
	Registrar registry.RegistrarOptions
	Log       *slog.Logger // default: none
}

// Node keeps one node registered. It is safe for concurrent use.
type Node struct {
	opts     NodeOptions
	registry rpc.Caller
	start    time.Time
	ctx      context.Context //nolint:containedctx // of all that it does
	cancel   context.CancelFunc
	wake     chan struct{}
	running  sync.WaitGroup

	mu      sync.Mutex
	reg     *registry.Registrar
	secret  registry.Secret
	changed chan struct{} // closed, and made anew, when something may have
	phase   registry.Phase
	failing bool             // the last attempt failed
	locks   map[uint64]*Lock // that it has, by number
	number  uint64           // of the last request
	left    bool
}

// Start begins to register a node with the registry that the client calls. It must be
// closed.
func Start(registryClient rpc.Caller, opts NodeOptions) (*Node, error) {
	if opts.OnFence == nil {
		opts.OnFence = func() {}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	opts.Log = opts.Log.With("node", opts.ID)
	o := opts.Registrar
	o.ID, o.Secret, o.Random, o.Lasting = opts.ID, opts.Secret, randv2.Float64, opts.Lasting
	if o.Secret == (registry.Secret{}) {
		o.Secret = newSecret()
	}
	n := &Node{
		opts: opts, registry: registryClient, start: time.Now(), wake: make(chan struct{}, 1),
		secret: o.Secret, changed: make(chan struct{}), locks: map[uint64]*Lock{},
		number: uint64(o.Life) << 32, // a process does not ask again what the one before it did
	}
	var err error
	if n.reg, err = registry.NewRegistrar(n.now(), o, opts.Endpoints, opts.Services); err != nil {
		return nil, fmt.Errorf("naming: %w", err)
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.running.Go(n.run)
	return n, nil
}

// Join is Start and Ready: it returns when the registry has accepted the node.
func Join(ctx context.Context, registryClient rpc.Caller, opts NodeOptions) (*Node, error) {
	n, err := Start(registryClient, opts)
	if err != nil {
		return nil, err
	}
	if _, err := n.Ready(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// newSecret is of one instance. crypto/rand does not fail.
func newSecret() (s registry.Secret) {
	_, _ = rand.Read(s[:])
	return s
}

func (n *Node) now() time.Duration { return time.Since(n.start) + 1 }

// run does what the registrar says.
func (n *Node) run() {
	t := time.NewTimer(0)
	defer t.Stop()
	for n.ctx.Err() == nil {
		n.mu.Lock()
		now := n.now()
		a := n.reg.Step(now)
		n.note()
		n.mu.Unlock()
		if a.Fence {
			n.fence()
			continue
		}
		if a.Register != nil || a.Renew != nil {
			n.running.Go(func() { n.attempt(a, a.Deadline-now) })
		}
		t.Reset(a.Wake - now)
		select {
		case <-t.C:
		case <-n.wake:
		case <-n.ctx.Done():
		}
	}
}

// attempt asks the registry, and tells the registrar what came of it.
func (n *Node) attempt(a registry.Action, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(n.ctx, timeout)
	defer cancel()
	var ack *registry.Ack
	var err error
	if a.Register != nil {
		ack, err = ask[registry.Registration, registry.Ack](ctx, n.registry, methodRegister, a.Register)
	} else {
		_, err = send(ctx, n.registry, methodRenew, a.Renew)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch now := n.now(); {
	case err != nil:
		n.reg.Failed(now, a.Attempt, err)
	case ack != nil:
		n.lose(n.reg.Confirmed(now, a.Attempt, ack))
	default:
		n.reg.Renewed(now, a.Attempt)
	}
	n.note()
	n.kick()
}

func (n *Node) kick() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// note wakes those who wait for something, and logs the phases, and the first failure in
// each. It is called with the lock.
func (n *Node) note() {
	close(n.changed)
	n.changed = make(chan struct{})
	c := n.reg.Condition()
	failing := c.Cause != nil
	if c.Phase == n.phase && failing == n.failing {
		return
	}
	n.phase, n.failing = c.Phase, failing
	level := slog.LevelInfo
	if failing {
		level = slog.LevelWarn
	}
	what := "node is " + c.Phase.String()
	if c.Phase == registry.PhaseFenced && n.opts.Lasting {
		what = "node has no lease, and goes on"
	}
	fields := []any{"rank", c.Claim.Rank, "epoch", c.Claim.Epoch}
	if failing {
		fields = append(fields, "err", c.Cause)
	}
	n.opts.Log.Log(n.ctx, level, what, fields...)
}

// fence ends what the lost epoch had, and begins anew.
func (n *Node) fence() {
	n.mu.Lock()
	for _, l := range n.locks {
		n.gone(l)
	}
	n.mu.Unlock()
	if !n.opts.Lasting {
		n.opts.OnFence()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.opts.Lasting { // the same instance goes on, otherwise
		n.secret = newSecret()
	}
	n.reg.Revive(n.now(), n.secret)
}

// Ready returns rank and epoch as soon as the registry has accepted the node.
func (n *Node) Ready(ctx context.Context) (registry.Claim, error) {
	for {
		n.mu.Lock()
		c, changed := n.reg.Condition(), n.changed
		n.mu.Unlock()
		if c.Claim.Epoch != 0 {
			return c.Claim, nil
		}
		select {
		case <-changed:
		case <-n.ctx.Done():
			return c.Claim, fmt.Errorf("node %q: %w", n.opts.ID, ErrClosed)
		case <-ctx.Done():
			return c.Claim, fmt.Errorf("node %q is %v after %d attempts: %w",
				n.opts.ID, c.Phase, c.Failures, errors.Join(context.Cause(ctx), c.Cause))
		}
	}
}

// Condition says how the registration is. Its times are since the node's start.
func (n *Node) Condition() registry.Condition {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reg.Condition()
}

// Services returns the node's servers, with the ids that the registry gave them.
func (n *Node) Services() []registry.Service {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reg.Services()
}

// Update changes what everybody is told of the node. It does not wait for that. Servers
// keep an id that the registry gave them if they are given with it: see [Node.Services].
// A refusal of the registry is in [Node.Condition]; the node stays as it was then.
func (n *Node) Update(at registry.Endpoints, services []registry.Service) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer n.kick()
	return n.reg.Update(n.now(), at, services) //nolint:wrapcheck // it names what is wrong
}

// SetLoad is what the next renewal says: calls that wait.
func (n *Node) SetLoad(load uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reg.SetLoad(load)
}

// SetNote is what the next renewal says to whoever runs the registry; clients are not
// told.
func (n *Node) SetNote(note string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reg.SetNote(note)
}

// farewell bounds the time of the last call.
const farewell = 2500 * time.Millisecond

// Close takes the node out of the registry: whatever served for it has ended before. If
// the registry cannot be told, it finds out when the lease is over.
func (n *Node) Close() error {
	n.mu.Lock()
	was := n.left
	n.left = true
	n.mu.Unlock()
	n.cancel()
	n.running.Wait()
	n.mu.Lock()
	for _, l := range n.locks {
		n.gone(l)
	}
	owner, has := n.reg.Leave(n.now())
	n.mu.Unlock()
	if was || !has {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if _, err := send(ctx, n.registry, methodDeregister, &owner); err != nil {
		return fmt.Errorf("node %q left, and the registry does not know: %w", n.opts.ID, err)
	}
	return nil
}
