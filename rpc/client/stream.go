package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/items"
	"rpcpool.dev/rpc/session"
)

// Stream is a call with any number of items in both directions. Its start is made at most
// once, as any call; items are lost with the connection, and then the stream is broken.
type Stream struct {
	client *Client
	ctx    context.Context //nolint:containedctx // of the call
	cancel context.CancelFunc
	user   *Call
	over   chan struct{} // closed when the call has ended

	mu      sync.Mutex
	items   *items.Stream // nil: the call is not on its way yet
	peer    conn.Peer
	ready   chan struct{} // closed when the start is on its way, or the call is over
	isReady bool
	cut     bool // items were lost
}

// Stream starts a stream. Its end is the end of ctx, of the server's handler, or Close.
func (c *Client) Stream(ctx context.Context, u *Call) *Stream {
	s := &Stream{client: c, user: u, over: make(chan struct{}), ready: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(ctx)
	k := c.prepare(s.ctx, u)
	k.stream, k.async = s, s.end
	k.unwatch = context.AfterFunc(s.ctx, func() { c.abandon(s.ctx, k) })
	c.start(s.ctx, k)
	return s
}

// on says by which connection the start is sent. If it was sent by another before, that one
// is lost, and with it what it has carried.
func (s *Stream) on(p conn.Peer, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.isReady:
		lane := s.user.Priority
		if lane == 0 {
			lane = frame.PriorityNormal
		}
		s.peer, s.items = p, items.New(p, items.Client, seq, lane)
	case s.peer != p:
		s.cut = true
		s.items.Break(conn.ErrCut)
		s.cancel() // a handler that starts now would wait for items that are lost
	}
}

// under lets items follow the start of the stream, all of which this connection has been given.
func (s *Stream) under(p conn.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peer == p {
		s.open()
	}
}

// open lets those go on who wait for the start. It is called with the lock.
func (s *Stream) open() {
	if !s.isReady {
		s.isReady = true
		close(s.ready)
	}
}

// broken says that a connection is lost.
func (s *Stream) broken(p conn.Peer, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.items != nil && s.peer == p {
		s.items.Break(why)
	}
}

// end is told how the call has ended.
func (s *Stream) end(u *Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.items == nil {
		s.items = items.New(nil, items.Client, 0, frame.PriorityNormal)
	}
	s.open()
	why := io.EOF
	if u.Outcome.Code == session.OK {
		if len(u.Reply) < 8 {
			why = errors.New("end of the stream is malformed")
		} else if n, got := binary.LittleEndian.Uint64(u.Reply), s.items.Received(); n != got {
			why = fmt.Errorf("connection was lost: %d of %d items have arrived", got, n)
		}
		if why != io.EOF { //nolint:errorlint // it is ours
			u.Outcome.Code, u.Text = session.Lost, why.Error()
		}
		u.Reply = u.Reply[min(8, len(u.Reply)):]
	}
	if s.cut && u.Outcome.Code == session.Canceled {
		u.Outcome.Code, u.Text = session.Lost, "connection was lost"
	}
	s.items.Break(why)
	close(s.over)
}

// Send sends an item, and waits while the server is slow. It fails with io.EOF when the call
// has ended: then Result says how.
func (s *Stream) Send(ctx context.Context, b []byte) error {
	i, err := s.started(ctx)
	if err != nil {
		return err
	}
	err = i.Send(ctx, b)
	switch own := context.Cause(ctx); {
	case err == nil:
		return nil
	case own != nil && !errors.Is(err, own): // which has ended the call by now
		return own //nolint:wrapcheck // the caller's own reason
	case own != nil:
		return err //nolint:wrapcheck // it names the item
	}
	select {
	case <-s.over:
		return io.EOF
	default:
		return err //nolint:wrapcheck // it names the item
	}
}

// CloseSend says that no more items come.
func (s *Stream) CloseSend(ctx context.Context) error {
	i, err := s.started(ctx)
	if err != nil {
		return err
	}
	return i.CloseSend(ctx) //nolint:wrapcheck // it says all
}

// Recv waits for the next item, and returns its bytes, which are the caller's. It fails with
// io.EOF when the call has ended and all items have been received: then Result says how.
func (s *Stream) Recv(ctx context.Context) ([]byte, error) {
	i, err := s.started(ctx)
	if err != nil {
		return nil, err
	}
	b, err := i.Recv(ctx)
	if err != nil && ctx.Err() == nil {
		select { // a broken stream is told by how its call ends
		case <-s.over:
			return nil, io.EOF
		case <-ctx.Done():
			return nil, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
		}
	}
	return b, err //nolint:wrapcheck // it says all
}

// started waits until the call is on its way.
func (s *Stream) started(ctx context.Context) (*items.Stream, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items, nil
}

// Result waits for the end of the call. Its Outcome says how it ended.
func (s *Stream) Result() *Call {
	<-s.over
	s.cancel()
	return s.user
}

// Received is how many items have arrived.
func (s *Stream) Received() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.items == nil {
		return 0
	}
	return s.items.Received()
}

// Close cancels the call, if it has not ended, and waits for its end.
func (s *Stream) Close() *Call {
	s.cancel()
	return s.Result()
}

// item gives an item, or credit for some, to its stream.
func (c *Client) item(p conn.Peer, in *conn.In) {
	c.mu.Lock()
	var s *Stream
	if l := c.lines[p]; l != nil {
		if i := l.peer.session.Call(in.Seq); i != nil {
			if k, ok := i.Tag.(*call); ok {
				s = k.stream
			}
		}
	}
	c.mu.Unlock()
	if s == nil {
		return // of a call that has ended
	}
	s.mu.Lock()
	i := s.items
	if s.peer != p {
		i = nil
	}
	s.mu.Unlock()
	if i == nil {
		return
	}
	if err := i.Message(in); err != nil {
		if n, ok := p.(*conn.Conn); ok {
			go func() {
				_ = n.GoAway(context.Background(), frame.GoAway{Reason: frame.ReasonFlowControl, Text: err.Error()})
			}()
		}
	}
}

// start is the memory of a stream's long start: short items would pass its chunks, so they
// wait until it has left.
type start struct {
	stream *Stream
	conn   *conn.Conn
	rest   conn.Releaser // nil: there is none
}

// Release implements [conn.Releaser].
func (o *start) Release() {
	if o.conn.Err() == nil { // or it is sent again by another, or is over
		o.stream.under(o.conn)
	}
	if o.rest != nil {
		o.rest.Release()
	}
}
