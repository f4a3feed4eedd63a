package accumulator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rpcpool.dev/internal/sleep"
)

// run pushes: one flush at a time, each of what was written until it began.
func (c *Client) run(ctx context.Context) {
	defer close(c.done)
	tick := time.NewTicker(c.opts.Interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-c.wake:
		case <-ctx.Done():
		}
		c.flush(ctx)
	}
	c.flush(ctx) // for those who wait: it tells them what is lost
}

// flush takes what there is, and pushes it until the server has it.
func (c *Client) flush(ctx context.Context) {
	c.mu.Lock()
	waiters, all := c.waiters, c.all
	c.waiters, c.busy = nil, true
	c.mu.Unlock()
	for _, b := range c.take(all) {
		c.deliver(ctx, b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	if len(c.waiters) > 0 && c.empty() { // those who came meanwhile need no flush of their own
		waiters, c.waiters = append(waiters, c.waiters...), nil
	}
	if len(waiters) == 0 {
		return
	}
	err := c.told()
	for _, w := range waiters {
		w <- err
	}
}

// take empties the accumulators into batches: one, but for what does not fit.
func (c *Client) take(all []named) []*batch {
	var batches []*batch
	for _, h := range all {
		entry, err := h.entry()
		if err != nil {
			c.report(fmt.Errorf("accumulator %q: what was written is lost: %w", h.name, err))
			continue
		}
		if entry == nil {
			continue
		}
		if len(batches) == 0 || !batches[len(batches)-1].add(entry) {
			c.number++
			b := newBatch(c.opts.ID, c.number)
			b.add(entry)
			batches = append(batches, b)
		}
	}
	return batches
}

// deliver pushes a batch until it is known what has become of it, or the client
// ends.
//
//	        ┌──────── error, after a pause ───────┐
//	        ▼                                     │
//	taken ──▶ pushed, with its number and age ────┤
//	                                              ├─ nil ─────────▶ merged, once
//	                                              ├─ ErrRejected ─▶ merged as far as it goes, reported
//	                                              └─ client ends ─▶ nobody knows, reported
func (c *Client) deliver(ctx context.Context, b *batch) {
	var since time.Time // when the first push began that may have been merged
	for pause := c.opts.Pause; ; pause = min(2*pause, c.opts.MaxPause) {
		first := since.IsZero()
		if first {
			since = time.Now()
		}
		err := c.push(ctx, b.aged(time.Since(since)))
		switch {
		case err == nil:
			return
		case errors.Is(err, ErrRejected):
			c.report(err)
			return
		case first && notExecuted(err):
			since = time.Time{}
		}
		if !sleep.For(pause, ctx.Done()) {
			c.report(fmt.Errorf("%w: batch %d of client %x was given up: %w", ErrClosed, b.number(), c.opts.ID, err))
			return
		}
	}
}

func (c *Client) push(ctx context.Context, batch []byte) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.PushTimeout)
	defer cancel()
	return c.pusher.Push(ctx, batch)
}

func notExecuted(err error) bool {
	var n interface{ NotExecuted() bool }
	return errors.As(err, &n) && n.NotExecuted()
}
