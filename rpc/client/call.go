package client

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// Call is one call: what is asked, and after [Client.Do] what has come of it.
type Call struct {
	Method     string
	Args       []byte         // not to be changed before Do returns, with [Call.OneWay] not at all
	Codec      uint8          // of arguments and result
	Priority   frame.Priority // default: normal
	Idempotent bool           // more than one run is no harm
	NoRetry    bool           // it is sent once; not with Idempotent
	OneWay     bool           // Do returns when the call is on its way; nobody wants its result
	Lane       uint64         // calls of one lane start in the order in which they are made, and do not overlap; 0: none
	Server     string         // id of the server that must take it; empty: any
	Trace      []byte         // W3C trace context; nil: the context's, see [wire.TraceKey]
	Wait       bool           // for a server, if there is none that can be reached
	Blobs      uint8          // how many blobs Args names in front of the rest, see [blob.AppendArgs]
	As         session.XID    // which call this is another attempt at: its method is to keep a record of it. Zero: none

	// What follows is the caller's: how long one attempt may take, how many there may be, whether
	// one of them may have had an effect, whether the call changes nothing, and whether it is
	// [Client.Hedge] that makes it. Do makes one attempt. User is whatever the caller likes.
	Each     time.Duration
	Idle     time.Duration // of a stream
	Tries    int
	Doubt    bool
	ReadOnly bool
	Hedge    bool
	User     any
	// Needs are the results of other calls that Args want, see [codec.Fill]. Whole returns that of
	// one of them, by its place in Needs, if it names blobs; it may wait for the caller of that
	// call. Cause is the caller's.
	Needs []*session.Promise
	Whole func(i int) ([]byte, error)
	Cause func() error

	// Reply is the result: it is appended to Reply[:0], so memory that is there is used.
	Reply []byte
	// Outcome says how the call ended. Its Reply is not used. Its Blobs are those in front of Reply.
	Outcome  session.Outcome
	XID      session.XID
	Attempts int           // how many servers were tried
	At       string        // id of the last of them
	Started  bool          // the server has said that it runs
	Retry    time.Duration // of an error: when another attempt may do better; negative: do not
	Text     string        // of an error, for people
	Detail   []byte        // of an error

	as  [frame.XIDLen]byte
	now *call // that [Client.Start] has made of it
}

// call is a Call on its way.
type call struct {
	inv     session.Invocation
	user    *Call
	method  uint32
	line    *line                              // that it holds
	plain   []byte                             // its result, if that came compressed
	born    time.Duration                      // when it was made
	parked  bool                               // it is in the client's list of those that wait for a server
	there   bool                               // it counts as open at the last of tried
	stream  *Stream                            // its items; nil: it is none
	async   func(*Call)                        // is told of the end; nil: Do waits for it
	unwatch func() bool                        // ends the watch over the context; nil: nobody watches
	sent    conn.Peer                          // that it was sent by last
	seq     uint64                             // with this number
	tried   []*peer                            // servers that had their chance
	avoid   *peer                              // that has another attempt at it; nil: none has
	kept    *conn.In                           // has the reply, if that is long
	loan    *conn.Memory                       // the user's Reply, while a connection may write to it; nil: none does
	lentTo  *conn.Conn                         // the connection
	pins    atomic.Int32                       // those who use the call or the arguments' memory: frames that are being sent, and Do
	late    atomic.Pointer[context.CancelFunc] // ends the wait for room to be sent; nil: nobody has waited
	free    chan struct{}                      // has an element when pins is 0
	over    atomic.Bool
	done    chan struct{} // has an element when over is true
	isOver  func() bool   // over's, made once
}

var calls = sync.Pool{New: func() any { //nolint:gochecknoglobals // memory, not state
	c := &call{done: make(chan struct{}, 1), free: make(chan struct{}, 1)}
	c.isOver = c.over.Load
	return c
}}

// finish gives the user what has come of a call. It runs before the memory of the reply
// is used again.
func (k *call) finish() {
	u, o := k.user, &k.inv.Outcome
	u.Outcome = *o
	u.Outcome.Reply = nil
	u.Started, u.Doubt = k.inv.Started(), u.Doubt || k.inv.Ran()
	switch {
	case k.kept != nil:
	case k.plain != nil && o.Code == session.OK:
		u.Reply = k.plain
	case o.Code == session.OK && k.loan != nil: // not to where another reply is arriving
		u.Reply = append([]byte(nil), o.Reply...)
	case o.Code == session.OK:
		u.Reply = append(u.Reply[:0], o.Reply...)
	default:
		retry, text, detail := wire.ParseFailure(o.Reply)
		u.Retry, u.Detail = retry, append([]byte(nil), detail...)
		if text != "" {
			u.Text = text
		}
	}
}

// Do makes a call, and waits for its end. When it returns, Outcome is there. It never
// fails in another way.
func (c *Client) Do(ctx context.Context, u *Call) {
	if u.Wait {
		_ = c.Ready(ctx, 1)
	}
	if u.OneWay {
		own := *u
		own.Reply = nil
		c.letGo(ctx, &own)
		u.Outcome = session.Outcome{}
		return
	}
	k := c.prepare(ctx, u)
	held := c.start(ctx, k)
	c.await(ctx, k, held)
	if k.line != nil {
		k.line.ref.Peer.Release()
	}
	k.settle()
	clear(k.tried)
	*k = call{done: k.done, free: k.free, isOver: k.isOver, tried: k.tried[:0]}
	calls.Put(k)
}

// settle ends a call's claims to memory: the user gets the reply, and the arguments
// back.
func (k *call) settle() {
	k.takeBack()
	if k.kept != nil {
		if u := k.user; cap(u.Reply) >= len(k.kept.Body) {
			u.Reply = append(u.Reply[:0], k.kept.Body...)
			k.kept.Release()
		} else {
			u.Reply = k.kept.Body
			k.kept.Detach()
		}
	}
	if k.pins.Add(-1) > 0 {
		if stop := k.late.Load(); stop != nil {
			(*stop)()
		}
		if l, ok := k.sent.(*conn.Conn); ok {
			if unsent, _ := l.Drop(k.seq); !unsent {
				cancel := conn.Message{Header: frame.Header{Type: frame.TypeCancel, Seq: k.seq}}
				_ = l.TrySend(&cancel) // the server keeps what it has of it, otherwise
			}
		}
		<-k.free
	}
}

// takeBack makes the memory of the reply the user's alone again. The reply may be there.
func (k *call) takeBack() {
	if k.loan == nil {
		return
	}
	if k.kept != nil && k.kept.In(k.loan) {
		k.user.Reply = k.kept.Body
		k.kept.Release()
		k.kept = nil
	}
	select {
	case <-k.loan.Back():
	default:
		k.lentTo.Recall(k.loan)
		<-k.loan.Back()
	}
}

// Release implements [conn.Releaser].
func (k *call) Release() {
	if k.pins.Add(-1) == 0 {
		k.free <- struct{}{}
	}
}

func (c *Client) prepare(ctx context.Context, u *Call) *call {
	k, _ := calls.Get().(*call)
	k.user = u
	if u.Trace == nil {
		u.Trace = wire.TraceOf(ctx)
	}
	if u.As != (session.XID{}) {
		binary.LittleEndian.PutUint64(u.as[copy(u.as[:], u.As.Session[:]):], u.As.Seq)
	}
	k.pins.Store(1)
	k.inv = session.Invocation{Lane: u.Lane, Args: u.Args, Idempotent: u.Idempotent, Once: u.NoRetry, Tag: k, Needs: u.Needs}
	if deadline, ok := ctx.Deadline(); ok {
		k.inv.Deadline = c.at(deadline)
	}
	return k
}

// start assigns a call to a server. It returns the connection that it was given to, if
// it was.
func (c *Client) start(ctx context.Context, k *call) *line {
	t := c.begin()
	if k.over.Load() { // its context ended before it began
		return c.end(ctx, t, nil)
	}
	if !c.admit(ctx, t, k) {
		return c.end(ctx, t, nil)
	}
	return c.end(ctx, t, k)
}

// admit lets a call begin, unless it is over before that.
func (c *Client) admit(ctx context.Context, t *turn, k *call) bool {
	k.born = t.now
	if ctx.Err() != nil || c.closed {
		t.out = c.session.Cancel(t.now, &k.inv, whyOf(ctx), t.out)
		return false
	}
	k.method = c.number(k.user.Method)
	k.inv.Method = k.method
	c.route(t, k)
	return true
}

// await waits for the end of a call, as long as its context does.
func (c *Client) await(ctx context.Context, k *call, held *line) {
	if held != nil && !k.over.Load() {
		if r, ok := held.ref.Peer.(*conn.Conn); ok && r.ReadUntil(ctx, k.isOver) {
			<-k.done
			return
		}
	}
	if ctx.Done() == nil { // to wait for one thing is quicker than for one of two
		<-k.done
		return
	}
	select {
	case <-k.done:
		return
	case <-ctx.Done():
	}
	c.giveUp(ctx, k)
}

// giveUp asks the server what has become of a call, and waits for the answer for a
// moment.
func (c *Client) giveUp(ctx context.Context, k *call) {
	t := c.begin()
	t.out = c.session.Cancel(t.now, &k.inv, whyOf(ctx), t.out)
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
	grace := time.NewTimer(c.opts.Grace)
	defer grace.Stop()
	select {
	case <-k.done:
		return
	case <-grace.C:
	}
	t = c.begin()
	t.out = c.session.GiveUp(t.now, &k.inv, t.out)
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
	<-k.done
}

// letGo starts a call that outlives its context, but not its deadline.
func (c *Client) letGo(ctx context.Context, u *Call) {
	own, cancel := context.WithoutCancel(ctx), context.CancelFunc(func() {})
	if deadline, ok := ctx.Deadline(); ok {
		own, cancel = context.WithDeadline(own, deadline)
	}
	c.Start(own, u, func(u *Call) {
		cancel()
		c.opts.OneWayEnd(u)
	})
}

// Start makes a call, and returns when it is on its way: there may be any number of them,
// and none has a goroutine. done is called when the call has ended, by whoever brings
// the end, so it must not wait; Args must not be changed before that.
func (c *Client) Start(ctx context.Context, u *Call, done func(*Call)) {
	k := c.prepare(ctx, u)
	k.async, u.now = done, k
	c.launch(ctx, k)
}

// launch starts a call that nobody waits for.
func (c *Client) launch(ctx context.Context, k *call) {
	c.watch(ctx, k)
	c.start(ctx, k)
}

// watch ends a call with its context.
func (c *Client) watch(ctx context.Context, k *call) {
	if ctx.Done() != nil {
		c.mu.Lock() // abandon needs it, so it finds unwatch
		k.unwatch = context.AfterFunc(ctx, func() { c.abandon(ctx, k) })
		c.mu.Unlock()
	}
}

// abandon is giveUp for a call that nobody waits for in a goroutine.
func (c *Client) abandon(ctx context.Context, k *call) {
	t := c.begin()
	t.out = c.session.Cancel(t.now, &k.inv, whyOf(ctx), t.out)
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
	time.AfterFunc(c.opts.Grace, func() {
		t := c.begin()
		t.out = c.session.GiveUp(t.now, &k.inv, t.out)
		c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
	})
}

// ended is the last word on a call of Start. Nobody's lock is held.
func (k *call) ended() {
	if k.unwatch != nil {
		k.unwatch()
	}
	last := func() {
		k.settle()
		k.async(k.user)
	}
	if k.pins.Load() > 1 {
		go last() // a long frame of it is being written still
		return
	}
	last()
}

func whyOf(ctx context.Context) session.Code {
	if ctx.Err() == context.DeadlineExceeded {
		return session.DeadlineExceeded
	}
	return session.Canceled
}
