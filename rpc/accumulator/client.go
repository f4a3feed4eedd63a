package accumulator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// handle is a series of any type.
type handle interface {
	init(c *Client, typ, name string, labels []Label)
	kind() string
	dirty() bool
	entry() ([]byte, error)
}

// Client gathers what a process writes and pushes it. Its methods may be called at
// any time by anyone.
type Client struct {
	pusher Pusher
	opts   Options
	scopes atomic.Bool
	epoch  time.Time // scopes count from here

	handles sync.Map // by key: what get returns

	wake   chan struct{} // somebody wants a flush
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine that pushes has ended

	mu      sync.Mutex
	all     []named
	waiters []chan error
	busy    bool // a flush is going on
	closed  bool
	bad     rejections // since Flush last told

	number uint64 // of the last batch; the pushing goroutine's
}

type named struct {
	name string
	handle
}

// NewClient returns a client that pushes to p. [Client.Close] it.
func NewClient(p Pusher, opts Options) *Client {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		pusher: p, opts: opts.withDefaults(), cancel: cancel, epoch: time.Now(),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	c.scopes.Store(opts.ScopeTimers)
	go c.run(ctx)
	return c
}

// ID returns what the server knows the client by.
func (c *Client) ID() ID { return c.opts.ID }

// get finds a handle, or makes it.
func get[H any, P interface {
	*H
	handle
}](c *Client, typ, name string, labels []Label) *H {
	key := name // what has labels has a 0 in its key, which is in no name
	if len(labels) > 0 {
		key = string(appendLabels(append([]byte(name), 0), labels))
	}
	found, ok := c.handles.Load(key)
	if !ok || strings.IndexByte(name, 0) >= 0 {
		h := P(new(H))
		var err error
		if found, err = c.add(h, typ, name, labels); err != nil {
			c.report(fmt.Errorf("accumulator %q of type %q: %w", name, typ, err))
			return nil
		}
		c.handles.Store(key, found)
	}
	h, ok := found.(P)
	if has := found.(handle).kind(); !ok || has != typ {
		c.report(fmt.Errorf("accumulator %q: %w: it is of type %q, %q was asked for", name, ErrType, has, typ))
		return nil
	}
	return h
}

// add makes h the handle of an accumulator, and returns it; or the one that was there
// before, with the labels in another order.
func (c *Client) add(h handle, typ, name string, labels []Label) (any, error) {
	if err := errors.Join(checkText("name", name, MaxName, false), checkText("type", typ, MaxType, false)); err != nil {
		return nil, err
	}
	labels, err := sorted(labels)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := "\x00" + string(appendLabels(append([]byte(name), 0), labels))
	if old, found := c.handles.Load(key); found {
		return old, nil
	}
	if len(c.all) >= c.opts.MaxSeries {
		return nil, limitf("the client has %d already", len(c.all))
	}
	h.init(c, typ, name, labels)
	c.all = append(c.all, named{name, h})
	c.handles.Store(key, h)
	return h, nil
}

// Flush pushes what was written before, and returns when the server has it. It
// returns what was not taken since the last Flush returned: rejected by the server,
// or never written because there was no handle for it.
func (c *Client) Flush(ctx context.Context) error { return c.await(ctx, true) }

// WaitEmpty waits until the server has what was written before. It does not make
// it go earlier. What it returns is as for [Client.Flush].
func (c *Client) WaitEmpty(ctx context.Context) error { return c.await(ctx, false) }

func (c *Client) await(ctx context.Context, now bool) error {
	w := make(chan error, 1)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	if !now && c.empty() {
		defer c.mu.Unlock()
		return c.told()
	}
	c.waiters = append(c.waiters, w)
	c.mu.Unlock()
	if now {
		c.poke()
	}
	select {
	case err := <-w:
		return err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(w) > 0 { // it has ended just now, and told what is told once
		return <-w
	}
	c.waiters = slices.DeleteFunc(c.waiters, func(o chan error) bool { return o == w })
	return fmt.Errorf("flush accumulators: %w", ctx.Err())
}

func (c *Client) empty() bool {
	return !c.busy && !slices.ContainsFunc(c.all, func(h named) bool { return h.dirty() })
}

// told returns what was not taken, once.
func (c *Client) told() error {
	err := c.bad.err()
	c.bad = rejections{}
	return err
}

// Close flushes and ends the client. If ctx ends first, what was not pushed is lost, and
// the error says so. What is written afterwards goes nowhere.
func (c *Client) Close(ctx context.Context) error {
	err := c.Flush(ctx)
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	select {
	case <-c.done:
	case <-ctx.Done():
	}
	if again {
		return nil
	}
	return err
}

// report tells of what was not taken, or cannot be written.
func (c *Client) report(err error) {
	c.mu.Lock()
	c.bad.add(err)
	c.mu.Unlock()
	if c.opts.OnError != nil {
		c.opts.OnError(err)
	}
}

func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
