package client

import (
	"cmp"
	"slices"
	"time"

	"rpcpool.dev/rpc/session"
)

// Open is a call that has not ended.
type Open struct {
	Method   string
	XID      session.XID   // at the server that it was sent to last; its Seq is 0 if there is none
	Server   string        // id of the endpoint that it is at; empty: it waits for a server, or for the results of others
	Attempts int           // servers that it was at
	Started  bool          // the server has said that it runs
	For      time.Duration // since it was made
	Left     time.Duration // until its deadline; 0: it has none
}

// Outstanding returns the calls that have not ended, the oldest first.
func (c *Client) Outstanding() []Open {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	var all []Open
	list := func(k *call, server string) {
		o := Open{
			Method: k.user.Method, XID: k.inv.XID(), Server: server, Attempts: len(k.tried), Started: k.inv.Started(), For: now - k.born,
		}
		if k.inv.Deadline != 0 {
			o.Left = k.inv.Deadline - now
		}
		all = append(all, o)
	}
	for _, k := range c.parked {
		list(k, "")
	}
	for k := range c.awaiting {
		list(k, "")
	}
	for _, p := range c.peers {
		visit := func(i *session.Invocation) {
			if k, ok := i.Tag.(*call); ok {
				list(k, p.endpoint.ID)
			}
		}
		p.session.Queued(visit)
		p.session.Open(visit)
	}
	slices.SortFunc(all, func(a, b Open) int { return cmp.Compare(b.For, a.For) })
	return all
}
