package server

import (
	"context"
	"fmt"

	"rpcpool.dev/internal/fifo"
)

// Drain refuses all calls from now on, those that wait included, and waits until
// nothing runs any more.
func (c *Core) Drain(ctx context.Context) error {
	t := c.begin(nil)
	c.draining = true
	c.drained(t)
	var idle chan struct{}
	if c.active+c.pending > 0 {
		if c.idle == nil {
			c.idle = make(chan struct{})
		}
		idle = c.idle
	}
	c.end(t)
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("calls still run: %w", context.Cause(ctx))
	}
}

// Abort ends the contexts of all calls that run: nobody will wait for them.
func (c *Core) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range []*fifo.List[*Job]{&c.long, &c.running} {
		for n := l.Head(); n != nil; n = n.Next() {
			n.Value.cancel(context.Canceled)
			c.exec.Interrupt(n.Value)
		}
	}
}
