package rdma

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Links are the RDMA of a process: its adapter, or why it has none, and what became of
// transfers that RDMA did not make. It is safe for concurrent use.
type Links struct {
	adapter  *Adapter // nil: there is none
	why      error
	required bool
	counts   counters
}

// NewLinks returns the links of an adapter; or, without one, those that say why there
// is none. If RDMA is required, nothing goes by TCP instead.
func NewLinks(a *Adapter, why error, required bool) *Links {
	if a == nil && why == nil {
		why = &Error{Reason: Off}
	}
	return &Links{adapter: a, why: why, required: required}
}

// Adapter returns the adapter, or why there is none.
func (l *Links) Adapter() (*Adapter, error) {
	if l.adapter == nil {
		return nil, l.why
	}
	return l.adapter, nil
}

// Fallback says what becomes of a transfer that RDMA has not made: nil, it restarts by
// TCP, which is counted; or the error, if RDMA is required.
func (l *Links) Fallback(err error) error {
	if l.required {
		return err
	}
	l.counts.fallback(ReasonOf(err))
	return nil
}

// Counts are those of the adapter, and of the links.
func (l *Links) Counts() Counts {
	own := l.counts.snapshot()
	if l.adapter == nil {
		return own
	}
	c := l.adapter.Counts()
	c.Fallbacks, c.Rebuilt = own.Fallbacks, own.Rebuilt
	return c
}

// Exchange takes an offer to the peer, which connects an endpoint to it, and returns
// with that endpoint's offer.
type Exchange func(ctx context.Context, offer []byte) ([]byte, error)

// The pauses after endpoints that broke, or could not be connected.
const (
	shortestPause = time.Second
	longestPause  = time.Minute
)

// Link is the way to one peer, as the side that connects has it: an endpoint, or the
// next one.
//
//	        Endpoint: exchange            Broken; Lost, if the endpoint is
//	(none) ────────────────────▶ up ──────────────────────────────────────▶ pause ──┐
//	   ▲     │ fails                                                          ▲     │ its end
//	   │     └────────────────────────────────────────────────────────────────┘     │
//	   └────────────────────────────────────────────────────────────────────────────┘
//
// A pause is a second after the first failure and twice the one before after each
// further, up to a minute; a pull that goes well ends the series.
type Link struct {
	links    *Links
	exchange Exchange
	turn     chan struct{} // who has put something in connects
	closing  sync.WaitGroup

	mu       sync.Mutex
	endpoint *Endpoint // nil: there is none now
	made     int       // endpoints that were connected
	pause    time.Duration
	next     time.Time // not before
	last     error     // why there is none
	closed   bool
}

// Link returns a link to a peer.
func (l *Links) Link(exchange Exchange) *Link {
	return &Link{links: l, exchange: exchange, turn: make(chan struct{}, 1)}
}

// Endpoint returns the endpoint that is up, or connects one. It fails with the reason
// of that, or with [Waiting] while the next attempt is not due.
func (k *Link) Endpoint(ctx context.Context) (*Endpoint, error) {
	adapter, err := k.links.Adapter()
	if err != nil {
		return nil, err
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, &Error{Reason: Cancelled, Err: context.Cause(ctx)}
	}
	if e, err := k.current(); e != nil || err != nil {
		return e, err
	}
	e, err := k.connect(ctx, adapter)
	if !k.keep(e, err) {
		return nil, errors.Join(&Error{Reason: Closed}, e.Close())
	}
	return e, err
}

// keep tells whether the link takes what was connected: it does not after Close.
func (k *Link) keep(e *Endpoint, err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err != nil:
		k.wait(err)
		return true
	case k.closed:
		return false
	}
	if k.endpoint, k.made = e, k.made+1; k.made > 1 {
		k.links.counts.rebuilt.Add(1)
	}
	return true
}

// current returns the endpoint, an error, or neither: it is time to connect.
func (k *Link) current() (*Endpoint, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.endpoint != nil && k.endpoint.Err() != nil {
		k.drop(k.endpoint.Err())
	}
	switch {
	case k.closed:
		return nil, &Error{Reason: Closed}
	case k.endpoint == nil && time.Now().Before(k.next):
		return nil, failure(Waiting, "for %v more, since %w", time.Until(k.next).Round(time.Millisecond), k.last)
	}
	return k.endpoint, nil
}

func (k *Link) connect(ctx context.Context, a *Adapter) (*Endpoint, error) {
	e, err := a.NewEndpoint()
	if err != nil {
		return nil, err
	}
	answer, err := k.exchange(ctx, e.Offer())
	if err == nil {
		err = e.Connect(answer)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Pull pulls by the endpoint, or by a new one: see [Endpoint.Pull].
func (k *Link) Pull(ctx context.Context, d Descriptor, into *Region, offset uint64) error {
	e, err := k.Endpoint(ctx)
	if err != nil {
		return err
	}
	if err := e.Pull(ctx, d, into, offset); err != nil {
		return err // a broken endpoint is found by who comes next
	}
	k.Good()
	return nil
}

// Good says that a transfer went well: the next pause is a short one.
func (k *Link) Good() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pause = 0
}

// Lost says that the peer's endpoint is broken, as the peer says.
func (k *Link) Lost(why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(fmt.Errorf("at the peer: %w", why))
}

// drop lets the endpoint go. mu is held.
func (k *Link) drop(why error) {
	if k.endpoint != nil {
		k.discard(k.endpoint)
		k.endpoint = nil
		k.wait(why)
	}
}

// discard closes an endpoint, which may take until its pulls have ended. If it is stuck,
// the pulls have said so.
func (k *Link) discard(e *Endpoint) {
	k.closing.Go(func() { _ = e.Close() })
}

// wait begins a pause. mu is held.
func (k *Link) wait(why error) {
	k.pause = min(max(2*k.pause, shortestPause), longestPause)
	k.next, k.last = time.Now().Add(k.pause), why
}

// Close closes the endpoint, and waits until the device writes nothing more for it.
func (k *Link) Close() {
	k.mu.Lock()
	k.closed = true
	k.drop(&Error{Reason: Closed})
	k.mu.Unlock()
	k.closing.Wait()
}
