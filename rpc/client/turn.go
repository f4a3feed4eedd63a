package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rpcpool.dev/rpc/compress"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// turn is one event, and what it leads to.
type turn struct {
	now     time.Duration
	near    *peer     // that all calls of the turn go to, if they can; nil: none
	reader  conn.Peer // whose reader brought it: it sends what is queued there, and nowhere else. nil: none did
	several bool      // messages are sent, in one go
	out     []session.Demand
	sends   []send
	ended   []*call       // of Start
	lets    []*conn.Local // to be released: that may end them, which is told at once
	frame   conn.Message  // that is being sent
}

// send is a message on its way.
type send struct {
	line *line
	msg  session.Message
	call *call              // of a CALL: pinned until it is sent
	pack *compress.Adaptive // whether its body is to be compressed; nil: it is not
}

// begin starts a turn: it locks the client.
func (c *Client) begin() *turn {
	now := c.now()
	t, again := c.turns.Get().(*turn)
	if !again {
		t = new(turn)
	}
	t.now = now
	c.mu.Lock()
	return t
}

// end carries out what a turn has led to, and unlocks. own is the call of who is
// here: it may wait for room to be sent, as long as ctx does. All others do not wait.
// It returns the connection that own was given to, if it was.
func (c *Client) end(ctx context.Context, t *turn, own *call) (held *line) {
	for i := 0; i < len(t.out); i++ {
		c.carry(t, &t.out[i])
	}
	if own != nil {
		held = own.line
	}
	c.mu.Unlock()
	for _, l := range t.lets {
		l.Release()
	}
	c.transmitAll(ctx, t, own)
	for _, k := range t.ended {
		k.ended()
	}
	clear(t.out)
	clear(t.sends)
	clear(t.ended)
	clear(t.lets)
	*t = turn{out: t.out[:0], sends: t.sends[:0], ended: t.ended[:0], lets: t.lets[:0]}
	if cap(t.out) <= 1024 {
		c.turns.Put(t)
	}
	return held
}

// together is how many messages are sent in one go: their servers begin while the next are made.
const together = 64

// transmitAll sends a turn's messages: if they are several, those for one connection in
// one go.
func (c *Client) transmitAll(ctx context.Context, t *turn, own *call) {
	t.several = len(t.sends) > 1
	for from := 0; from < len(t.sends); from += together {
		some := t.sends[from:min(from+together, len(t.sends))]
		for i := range some {
			c.transmit(ctx, t, &some[i], own)
		}
		if t.several {
			t.flush(some)
		}
	}
}

// flush writes what has been queued.
func (t *turn) flush(sent []send) {
	var last *line
	for i := range sent {
		l := sent[i].line
		if p, socket := l.ref.Peer.(*conn.Conn); socket && l != last && l.ref.Peer != t.reader {
			p.Flush()
		}
		last = l
	}
}

// queues tells whether what is sent to a peer is queued there: somebody flushes it.
func (t *turn) queues(p conn.Peer) bool { return t.several || t.reader == p }

// carry carries out a demand, as far as that goes under the lock.
func (c *Client) carry(t *turn, d *session.Demand) {
	switch d.Want {
	case session.Transmit:
		c.note(t, d)
	case session.Dial:
		p, _ := d.Peer.Tag.(*peer)
		if p.retired || c.closed {
			t.out = c.session.Dead(t.now, d.Peer, false, t.out)
			return
		}
		c.background.Go(func() { c.dial(p) })
	case session.Route:
		k, _ := d.Call.Tag.(*call)
		known := false // that the server refuses calls
		if p, ok := d.Peer.Tag.(*peer); ok {
			c.leave(t, k, p)
			known = t.now < p.shun
			p.ended(t.now, &d.Call.Outcome)
		}
		if d.Call.Outcome.Code == session.Refused && (!known || !c.welcomes(t.now, k)) && !c.budget.retry() {
			c.exhausted++
			t.out = c.session.NoServer(d.Call, t.out)
			return
		}
		d.Call.Outcome.Reply = append([]byte(nil), d.Call.Outcome.Reply...) // the reader's memory
		c.route(t, k)
	case session.Finish:
		k, _ := d.Call.Tag.(*call)
		o := &k.inv.Outcome
		if o.Code == session.OK {
			c.budget.success()
		}
		if n := len(k.tried); n > 0 {
			p := k.tried[n-1]
			c.leave(t, k, p)
			p.ended(t.now, o)
		}
		c.finished(t, k)
	case session.Supply:
		k, _ := d.Call.Tag.(*call)
		c.supply(t, k)
	}
}

// leave says that a call is not with a server any more.
func (c *Client) leave(t *turn, k *call, p *peer) {
	if !k.there {
		return
	}
	k.there = false
	p.open--
	c.forget(t, p)
}

// finished gives a call its end.
func (c *Client) finished(t *turn, k *call) {
	if l := k.line; l != nil && k.async != nil { // Do lets go of its own: it may be reading there
		k.line = nil
		defer c.letGoOf(t, l)
	}
	if k.parked {
		i := slices.Index(c.parked, k)
		c.parked = slices.Delete(c.parked, i, i+1)
		k.parked = false
	}
	if k.user.Needs != nil {
		delete(c.awaiting, k)
	}
	k.user.XID = k.inv.XID()
	if k.user.Attempts = len(k.tried); k.user.Attempts > 0 {
		k.user.At = k.tried[k.user.Attempts-1].endpoint.ID
	}
	c.gaveUp(k)
	c.count(t.now, k)
	k.finish()
	k.over.Store(true)
	if k.async != nil {
		t.ended = append(t.ended, k)
		return
	}
	k.done <- struct{}{}
}

// letGoOf lets go of a connection that a call held.
func (c *Client) letGoOf(t *turn, l *line) {
	if local, ok := l.ref.Peer.(*conn.Local); ok {
		t.lets = append(t.lets, local)
		return
	}
	l.ref.Peer.Release()
}

// note puts a message among those to be sent. A call holds its connection from now on.
func (c *Client) note(t *turn, d *session.Demand) {
	p, _ := d.Peer.Tag.(*peer)
	l := p.line
	if l == nil || l.id != d.Conn {
		return // it is gone; the session is about to hear of it
	}
	s := send{line: l, msg: d.Msg}
	if d.Call != nil {
		s.call, _ = d.Call.Tag.(*call)
		if l.away || !c.hold(t, s.call, l, d.Msg.Seq) {
			// It would be thrown away there, or the connection be closed before its answer
			// has come. That it is closed, and where the call goes then, the session will hear.
			c.session.Unsent(p.session, l.id, d.Msg.Seq)
			return
		}
		s.call.pins.Add(1)
		s.pack = l.adaptive(s.call.method)
		if !l.bound[s.call.method] {
			l.bound[s.call.method] = true
			bind := conn.Message{Header: frame.Header{Type: frame.TypeBind, Seq: uint64(s.call.method)}, Body: []byte(s.call.user.Method)}
			_ = l.ref.Peer.Queue(&bind)
		}
	}
	t.sends = append(t.sends, s)
}

// hold makes a call hold the connection that it is sent by. It returns false if that is about
// to be closed.
func (c *Client) hold(t *turn, k *call, l *line, seq uint64) bool {
	if k.line != l {
		if !l.ref.Peer.Hold() {
			return false
		}
		if k.line != nil {
			c.letGoOf(t, k.line)
		}
		k.line = l
	}
	k.sent, k.seq = l.ref.Peer, seq
	if k.stream != nil {
		k.stream.on(l.ref.Peer, seq)
	}
	return true
}

// transmit sends a message. Nobody's lock is held.
func (c *Client) transmit(ctx context.Context, t *turn, s *send, own *call) {
	p := s.line.ref.Peer
	f := &t.frame
	if wire.Fence(&s.msg, f) {
		c.give(p, f, t.queues(p))
	}
	*f = conn.Message{}
	if !wire.Request(&s.msg, f) {
		return
	}
	k := s.call
	if k == nil {
		if l, ok := p.(*conn.Conn); ok && f.Type == frame.TypeCancel {
			l.Drop(f.Seq) // no chunk may come behind the CANCEL
		}
		c.give(p, f, t.queues(p))
		return
	}
	u := k.user
	f.Ext.Method, f.Codec, f.Ext.Trace, f.Ext.Blobs = k.method, u.Codec, u.Trace, u.Blobs
	if u.Priority != 0 {
		f.Priority = u.Priority
	}
	if u.OneWay {
		f.Flags |= frame.FlagOneWay
	}
	if k.stream != nil {
		f.Flags |= frame.FlagStream
	}
	if u.As != (session.XID{}) {
		f.Ext.XID = u.as[:]
	}
	if s.pack != nil && u.Blobs == 0 {
		wire.Squeeze(c.packers, s.pack, s.line.pack.id, f)
	}
	long := len(f.Body) >= conn.LongBody
	if long && f.Flags&frame.FlagCompressed == 0 {
		k.pins.Add(1)
		f.Owner = k
	}
	if s.pack != nil {
		wire.Time(s.pack, f)
	}
	st := k.stream // k may be another call's when the frame has been sent
	if n, socket := p.(*conn.Conn); st != nil && socket && long {
		f.Owner, st = &start{stream: st, conn: n, rest: f.Owner}, nil
	}
	k.isReadFor(p, own)
	var err error
	switch {
	case k == own && ctx != nil:
		err = p.Send(ctx, f)
	case t.queues(p):
		err = p.Queue(f)
	default:
		err = p.TrySend(f)
	}
	if errors.Is(err, conn.ErrBackpressure) {
		c.transmitLate(s.line, *f, k, st)
		return
	}
	c.sent(s.line, f, k, st, err)
}

// isReadFor has a connection read by itself for a call whose caller will not. own is the call of who is here.
func (k *call) isReadFor(p conn.Peer, own *call) {
	if n, socket := p.(*conn.Conn); socket && (k != own || k.async != nil) {
		n.Reside()
	}
}

// transmitLate waits for room for a CALL, as long as the call is open.
func (c *Client) transmitLate(l *line, f conn.Message, k *call, st *Stream) {
	ctx, cancel := context.WithCancel(context.Background())
	k.late.Store(&cancel)
	if k.over.Load() { // settle may have been here before
		cancel()
	}
	c.background.Go(func() {
		defer cancel()
		c.sent(l, &f, k, st, l.ref.Peer.Send(ctx, &f))
	})
}

// sent sees to a CALL that its connection has taken, or has not.
func (c *Client) sent(l *line, f *conn.Message, k *call, st *Stream, err error) {
	if err == nil && st != nil {
		st.under(l.ref.Peer)
	}
	c.unsent(l, f, k, err)
	k.Release()
}

// unsent sees to a CALL that its connection has not taken.
func (c *Client) unsent(l *line, f *conn.Message, k *call, err error) {
	if err == nil {
		return
	}
	if o, ok := f.Owner.(*start); ok {
		f.Owner = o.rest
	}
	wire.Disown(f)
	t := c.begin()
	c.session.Unsent(l.peer.session, l.id, f.Seq)
	if errors.Is(err, conn.ErrTooLong) {
		k.user.Text = err.Error()
		t.out = c.session.Cancel(t.now, &k.inv, session.Invalid, t.out)
	}
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
}

// give sends a control frame. If there is no room even for that, the connection is
// about to be found dead.
func (c *Client) give(p conn.Peer, f *conn.Message, reader bool) {
	if reader {
		_ = p.Queue(f)
	} else {
		_ = p.TrySend(f)
	}
}

// route gives a call to a server that it was not at yet.
func (c *Client) route(t *turn, k *call) {
	if k.inv.Needs != nil {
		c.follow(t, k)
		return
	}
	p := c.choose(t.now, k)
	if t.near != nil && t.near.takes(k) {
		p = t.near
	}
	if p == nil && k.user.Wait && !c.closed {
		k.parked = true
		c.parked = append(c.parked, k)
		return
	}
	if p == nil {
		k.user.Text = c.whyNone(k)
		t.out = c.session.NoServer(&k.inv, t.out)
		return
	}
	c.assign(t, k, p)
}

// assign gives a call to a server.
func (c *Client) assign(t *turn, k *call, p *peer) {
	k.tried = append(k.tried, p)
	k.there = true
	p.open++
	t.out = c.session.Assign(t.now, &k.inv, p.session, t.out)
}

// unpark tries all servers again for those calls that wait for one.
func (c *Client) unpark(t *turn) {
	parked := c.parked
	c.parked = nil
	for _, k := range parked {
		k.parked = false
		k.tried = k.tried[:0]
		c.route(t, k)
	}
}

// whyNone says why there is no server for a call, for people.
func (c *Client) whyNone(k *call) string {
	if n := len(k.tried); n > 0 {
		switch p := k.tried[n-1]; {
		case p.why != nil:
			return p.why.Error()
		case p.line == nil: // it has been dialled, and is not connected yet
			return fmt.Sprintf("server %q does not answer", p.endpoint.ID)
		}
		return fmt.Sprintf("%d servers were tried, there is no other", n)
	}
	if p := c.peers[k.user.Server]; p != nil && p.why != nil {
		return p.why.Error()
	}
	if k.user.Server != "" {
		return fmt.Sprintf("service %q has no server %q", c.opts.Service, k.user.Server)
	}
	for _, p := range c.list {
		if p.why != nil {
			return p.why.Error()
		}
	}
	return fmt.Sprintf("no server of service %q is known", c.opts.Service)
}
