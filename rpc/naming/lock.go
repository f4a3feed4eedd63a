package naming

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/rpc/registry"
)

// Errors of locks and barriers.
var (
	// ErrBroken: one who had arrived at the barrier is gone, perhaps this node.
	ErrBroken = errors.New("the barrier is broken")
	// ErrTooMany: the node has as many locks as it may have.
	ErrTooMany = errors.New("too many locks")
)

// Lock is a named lock that a node has. It goes with the node's epoch.
type Lock struct {
	n     *Node
	q     registry.Request
	token uint64
	lost  chan struct{}
}

// Token is greater than that of whoever had the lock before: what the lock protects can
// refuse lower ones.
func (l *Lock) Token() uint64 { return l.token }

// Lost is closed when the node does not have the lock any more.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Release gives the lock back. The end of ctx ends the wait for the registry's answer
// only: it is told all the same.
func (l *Lock) Release(ctx context.Context) error {
	n := l.n
	n.mu.Lock()
	if n.locks[l.q.Number] == l {
		n.reg.Drop(l.q.Name)
		n.gone(l)
	}
	n.mu.Unlock()
	select {
	case err := <-n.release(l.q):
		return err
	case <-ctx.Done():
		return fmt.Errorf("lock %q is being released: %w", l.q.Name, context.Cause(ctx))
	}
}

// gone is called with the node's lock.
func (n *Node) gone(l *Lock) {
	delete(n.locks, l.q.Number)
	close(l.lost)
}

func (n *Node) lose(held []registry.Held) {
	for _, h := range held {
		if l := n.locks[h.Number]; l != nil {
			n.gone(l)
		}
	}
}

// Lock waits for a named lock. Who waits gets it in the order of asking; who loses the
// registry while it waits asks anew.
func (n *Node) Lock(ctx context.Context, name string) (*Lock, error) {
	q := n.request(name, 0)
	for {
		o, err := n.progress(ctx, methodLock, q)
		if err != nil {
			n.release(*q)
			return nil, fmt.Errorf("lock %q: %w", name, err)
		}
		switch o.Progress {
		case registry.Granted:
			if l, err := n.hold(q, o); l != nil || err != nil {
				return l, err
			}
			sleep.For(pace, ctx.Done()) // another registry has granted it than the node knows of
		case registry.Over: // by a registry that knew nothing of it
			q = n.request(name, 0)
		default:
		}
	}
}

// hold makes a lock of a grant, or nothing if it is to be asked for again.
func (n *Node) hold(q *registry.Request, o *registry.Outcome) (*Lock, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.locks) >= registry.MaxHeld {
		n.releaseLocked(*q)
		return nil, fmt.Errorf("lock %q: %w: %d", q.Name, ErrTooMany, len(n.locks))
	}
	if !n.reg.Hold(n.now(), o.Epoch, registry.Held{Name: q.Name, Number: q.Number, Token: o.Token}) {
		return nil, nil
	}
	l := &Lock{n: n, q: *q, token: o.Token, lost: make(chan struct{})}
	n.locks[q.Number] = l
	return l, nil
}

// Barrier waits until size have arrived at a named barrier, of this node or others. It
// fails with [ErrBroken] if one of those who waited is gone.
func (n *Node) Barrier(ctx context.Context, name string, size int) error {
	q := n.request(name, size)
	for {
		o, err := n.progress(ctx, methodArrive, q)
		switch {
		case err != nil:
			n.release(*q)
			return fmt.Errorf("barrier %q: %w", name, err)
		case o.Progress == registry.Passed:
			return nil
		case o.Progress != registry.Waiting:
			return fmt.Errorf("barrier %q: %w", name, ErrBroken)
		}
	}
}

func (n *Node) request(name string, size int) *registry.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.number++
	return &registry.Request{Number: n.number, Name: name, N: size}
}

// Bounds of what a node does while it waits.
const (
	pace = 50 * time.Millisecond // at least so long from one question to the next
	wait = 15 * time.Second      // for an answer; above every sensible [Options.Poll]
)

// progress returns what has become of a request, as soon as it is something, or after a
// while. The registry may come and go meanwhile, and the node's epoch, too.
func (n *Node) progress(ctx context.Context, method string, q *registry.Request) (*registry.Outcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(n.ctx, func() { cancel(ErrClosed) })()
	p := pauses{pace, time.Second}
	for {
		epoch := q.Owner.Epoch
		var err error
		if q.Owner, err = n.owner(ctx); err != nil {
			return nil, err
		}
		if q.N > 0 && epoch != 0 && epoch != q.Owner.Epoch {
			return nil, ErrBroken
		}
		o, err := n.question(ctx, method, q)
		no := (*registry.Refusal)(nil)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
		case err == nil:
			return o, nil
		case errors.As(err, &no) && (no.Code == registry.Malformed || no.Code == registry.Full):
			return nil, no
		}
		p.wait(ctx)
	}
}

// question asks once. It takes some time in any case, unless there is something new.
func (n *Node) question(ctx context.Context, method string, q *registry.Request) (*registry.Outcome, error) {
	least := time.Now().Add(pace)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	o, err := ask[registry.Request, registry.Outcome](ctx, n.registry, method, q)
	if err == nil && o.Progress == registry.Waiting {
		sleep.For(time.Until(least), ctx.Done())
	}
	return o, err
}

// owner waits until the node has a lease, and returns what proves it.
func (n *Node) owner(ctx context.Context) (registry.Owner, error) {
	for {
		if _, err := n.Ready(ctx); err != nil {
			return registry.Owner{}, err
		}
		n.mu.Lock()
		o := registry.Owner{Epoch: n.reg.Condition().Claim.Epoch, Secret: n.secret, Life: n.opts.Registrar.Life}
		n.mu.Unlock()
		if o.Epoch != 0 {
			return o, nil
		}
	}
}

// release tells the registry that a request is over, as often as that takes.
func (n *Node) release(q registry.Request) <-chan error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.releaseLocked(q)
}

func (n *Node) releaseLocked(q registry.Request) <-chan error {
	done := make(chan error, 1)
	if n.left || q.Owner.Epoch == 0 { // everything is over, or it was never asked for
		done <- nil
		return done
	}
	n.running.Go(func() { done <- n.untilReleased(&q) })
	return done
}

func (n *Node) untilReleased(q *registry.Request) error {
	p := pauses{pace, time.Second}
	for {
		ctx, cancel := context.WithTimeout(n.ctx, farewell)
		_, err := send(ctx, n.registry, methodRelease, q)
		cancel()
		no := (*registry.Refusal)(nil)
		if err == nil || errors.As(err, &no) { // of an epoch that is over, or was never granted it
			return nil
		}
		if !p.wait(n.ctx) {
			return fmt.Errorf("%q: %w", q.Name, ErrClosed)
		}
	}
}
