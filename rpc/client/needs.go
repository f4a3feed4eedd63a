package client

import (
	"context"

	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/session"
)

// Promise returns the promise of the result of a call that [Client.Start] has made, for
// [Call.Needs] of others of this client; nil if it has ended.
func (c *Client) Promise(u *Call) *session.Promise {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u.now == nil {
		return nil
	}
	return c.session.Promise(&u.now.inv)
}

// follow gives a call that needs results of others to the server where they are. Where that
// cannot be, it waits here until it has them.
func (c *Client) follow(t *turn, k *call) {
	if s := c.session.Where(&k.inv); s != nil {
		if p, ok := s.Tag.(*peer); ok && p.takes(k) && !c.closed {
			c.assign(t, k, p)
			return
		}
	}
	c.awaiting[k] = true
	t.out = c.session.Await(&k.inv, t.out)
}

// takes tells whether a call may go to a server.
func (p *peer) takes(k *call) bool {
	return !p.retired && !k.wasAt(p) && !p.resting() && (k.user.Server == "" || k.user.Server == p.endpoint.ID)
}

// supply puts the results into the arguments of a call that has waited for them, which any
// server may take then.
func (c *Client) supply(t *turn, k *call) {
	delete(c.awaiting, k)
	results, apart := make([][]byte, 0, session.MaxNeeds), false
	needs := k.inv.Needs
	for _, pr := range needs {
		results = append(results, pr.Outcome.Reply)
		apart = apart || pr.Outcome.Blobs > 0
	}
	if !apart {
		c.fill(t, k, results)
		return
	}
	k.pins.Add(1)
	c.background.Go(func() {
		defer k.Release()
		var err error
		for i, pr := range needs {
			if pr.Outcome.Blobs > 0 && err == nil {
				results[i], err = k.user.Whole(i)
			}
		}
		t := c.begin()
		switch {
		case k.over.Load():
		case err != nil:
			k.user.Text = "a result that it needs: " + err.Error()
			t.out = c.session.Cancel(t.now, &k.inv, session.Unmet, t.out)
		default:
			c.fill(t, k, results)
		}
		c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
	})
}

// fill puts results into the arguments of a call, and gives it to a server.
func (c *Client) fill(t *turn, k *call, results [][]byte) {
	args, err := codec.Fill(nil, k.user.Codec, k.inv.Args, results)
	if err != nil {
		k.user.Text = "arguments: " + err.Error()
		t.out = c.session.Cancel(t.now, &k.inv, session.Invalid, t.out)
		return
	}
	k.inv.Args = args
	k.inv.Supplied()
	k.tried = k.tried[:0]
	c.route(t, k)
}

// Prepared is a call that can be started by [Client.StartAll].
type Prepared struct {
	ctx context.Context //nolint:containedctx // of the call
	k   *call
}

// Prepare makes a call that is started later, by [Client.StartAll]. It can promise its
// result.
func (c *Client) Prepare(ctx context.Context, u *Call, done func(*Call)) Prepared {
	k := c.prepare(ctx, u)
	k.async, u.now = done, k
	return Prepared{ctx, k}
}

// StartAll is [Client.Start] for calls that go together: to one server, as far as they can,
// and all in one go.
func (c *Client) StartAll(list []Prepared) {
	for _, s := range list {
		c.watch(s.ctx, s.k)
	}
	t := c.begin()
	for _, s := range list {
		if s.k.over.Load() { // its context ended before it began
			continue
		}
		c.admit(s.ctx, t, s.k)
		if n := len(s.k.tried); t.near == nil && n > 0 {
			t.near = s.k.tried[n-1]
		}
	}
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
}
