package client

import (
	"context"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// handler is the Client as its connections see it.
type handler Client

var (
	_ conn.Handler = (*handler)(nil)
	_ conn.Lender  = (*handler)(nil)
)

// dial connects to a server.
func (c *Client) dial(p *peer) {
	ref, err := c.service.AcquireID(context.Background(), p.endpoint.ID) // the pool has a time for it
	t := c.begin()
	if err == nil && (p.retired || ref.From != p.front) { // the list has changed meanwhile
		defer ref.Release()
		err = conn.ErrRemoved
	}
	if err != nil {
		c.opts.Log.Debug("server cannot be reached", "server", p.endpoint.ID, "err", err)
		p.why = err
		t.out = c.session.Unreachable(t.now, p.session, t.out)
		c.abandoned(t, p)
		c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
		return
	}
	c.lastConn++
	l := &line{id: c.lastConn, peer: p, ref: ref, bound: map[uint32]bool{}, pack: c.newPacking(ref.Peer)}
	if old := c.lines[ref.Peer]; old != nil && !old.met { // it was full, and is not closed yet
		defer old.ref.Release()
	}
	c.lines[ref.Peer], p.line, p.why = l, l, nil
	if n, ok := ref.Peer.(*conn.Conn); ok {
		c.session.Terms(p.session, n.Agreed().Lease, int(n.Agreed().MaxOpen))
		c.session.Refers(p.session, n.Agreed().Features&frame.FeaturePipelining != 0)
	}
	c.regrant(p.endpoint, ref.Peer)
	t.out = c.session.Connected(t.now, p.session, l.id, t.out)
	if e, ok := ref.Peer.(interface{ Err() error }); ok && e.Err() != nil { // its Closed came before
		delete(c.lines, ref.Peer)
		p.line = nil
		defer ref.Release()
		t.out = c.session.Disconnected(t.now, p.session, l.id, t.out)
		c.abandoned(t, p)
	}
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
	// The reference is kept until the welcome has come: see Message.
}

// Message implements [conn.Handler].
func (h *handler) Message(p conn.Peer, in *conn.In) {
	c := (*Client)(h)
	if in.Type == frame.TypeGoAway {
		c.goneAway(p, in)
		return
	}
	if in.Type == frame.TypeBlobOffer {
		c.offered(p, in)
		return
	}
	if in.Type == frame.TypeBlobGrant {
		c.again(in)
		return
	}
	if in.Type == frame.TypeItems || in.Type == frame.TypeReply && in.Flags&frame.FlagStream != 0 {
		c.item(p, in)
		return
	}
	var m session.Message
	is, err := wire.ParseResponse(in, &m)
	if err != nil || !is {
		return // the connection has checked what is wrong about it
	}
	t := c.begin()
	t.reader = p
	l := c.lines[p]
	if l == nil {
		c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
		return
	}
	c.receive(t, l, in, &m)
	met := m.Kind == session.Welcome && !l.met
	l.met = l.met || met
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
	if met {
		l.ref.Release()
	}
}

// goneAway hears that a server takes no calls on a connection any more, and which it has
// taken last. The others have not been sent, as it were: they do not keep the connection
// from ending, and go elsewhere if the server stops.
func (c *Client) goneAway(p conn.Peer, in *conn.In) {
	t := c.begin()
	if l := c.lines[p]; l != nil {
		l.away = true
		l.peer.session.Open(func(i *session.Invocation) {
			if k, _ := i.Tag.(*call); k.line == l && k.seq > in.Seq {
				c.session.Unsent(l.peer.session, l.id, k.seq)
				c.letGoOf(t, l)
				k.line = nil
			}
		})
		if why, err := frame.ParseGoAway(in.Body); err == nil && why.Reason == frame.ReasonShutdown && len(c.list) > 1 {
			t.out = c.session.Retire(l.peer.session, t.out)
		}
	}
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
}

// receive gives a message to the session. The memory of a long reply goes to its call.
func (c *Client) receive(t *turn, l *line, in *conn.In, m *session.Message) {
	var k *call
	if m.Blobs > 0 {
		c.tooLate(l.peer, m)
	}
	if m.Kind == session.Reply && in.Flags&frame.FlagCompressed != 0 {
		if i := l.peer.session.Call(m.Seq); i != nil && l.peer.line == l {
			k, _ = i.Tag.(*call)
			c.unpack(k, l, in, m)
		}
	} else if m.Kind == session.Reply && m.Code == session.OK && len(m.Body) >= conn.LongBody {
		if i := l.peer.session.Call(m.Seq); i != nil && l.peer.line == l {
			k, _ = i.Tag.(*call)
			k.kept = in.Keep()
			m.Body = k.kept.Body
		}
	}
	t.out = c.session.Receive(t.now, l.peer.session, l.id, m, t.out)
}

// Lend implements [conn.Lender]: a long result is read to where its caller wants it.
func (h *handler) Lend(p conn.Peer, head *frame.Header, n int) *conn.Memory {
	c := (*Client)(h)
	c.mu.Lock()
	defer c.mu.Unlock()
	l, plain := c.lines[p], head.Flags&(frame.FlagStream|frame.FlagCompressed) == 0
	if l == nil || l.peer.line != l || !plain {
		return nil
	}
	i := l.peer.session.Call(head.Seq)
	if i == nil {
		return nil
	}
	k, _ := i.Tag.(*call)
	if k.async != nil || k.stream != nil || k.loan != nil || cap(k.user.Reply) < n {
		return nil
	}
	if overlap(k.user.Args, k.user.Reply[:n]) || overlap(k.user.Reply[:n], k.user.Args) {
		return nil // the arguments may have to be sent again
	}
	k.lentTo, _ = p.(*conn.Conn)
	k.loan = conn.Lend(k.user.Reply[:n])
	return k.loan
}

// Closed implements [conn.Handler].
func (h *handler) Closed(p conn.Peer, why error, unsent []uint64) {
	c := (*Client)(h)
	c.stores.ended(p)
	t := c.begin()
	l := c.lines[p]
	if l == nil {
		c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
		return
	}
	delete(c.lines, p)
	if l.peer.line == l {
		l.peer.line = nil
	}
	met := l.met
	l.met = true
	l.peer.session.Open(func(i *session.Invocation) {
		if k, _ := i.Tag.(*call); k.stream != nil {
			k.stream.broken(p, why)
		}
	})
	for _, seq := range unsent {
		c.session.Unsent(l.peer.session, l.id, seq)
	}
	t.out = c.session.Disconnected(t.now, l.peer.session, l.id, t.out)
	c.abandoned(t, l.peer)
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
	if !met {
		l.ref.Release()
	}
	c.opts.Log.Debug("connection has ended", "server", l.peer.endpoint.ID, "why", why)
}
