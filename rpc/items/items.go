// Package items is one side of a stream: items that are sent and received on the
// connection that has started the call they belong to.
//
//	Send ─▶ credit of the stream ─▶ connection        connection ─▶ queue ─▶ Recv
//	             ▲ ITEMS ◀──────────────── half of what was credited is read ──┘
//
//	open ─ Break (cut, cancelled, call over) ─▶ broken: Send and Recv fail;
//	                                             what has arrived can still be read
//
// What has arrived and was not read is bounded by the credit, so a slow reader stops its
// own stream and nobody else's. Items are received in order, each once. They are lost
// with the connection.
package items

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// Window is how many bytes of items may be sent before the receiver has said a limit, and
// how many are kept for a reader; the last item may go beyond it. An item counts as its body and
// Overhead.
const (
	Window   = frame.MessageAllowance
	Overhead = frame.HeaderLen
)

// ErrOverrun is why a stream is broken whose peer sends more than it may.
var ErrOverrun = errors.New("more items were sent than credited")

// Side is who has a stream.
type Side uint8

// Sides.
const (
	Client Side = iota
	Server
)

// Stream is one side's.
type Stream struct {
	peer conn.Peer
	side Side
	seq  uint64
	lane frame.Priority // the call's: items and what ends them must not overtake each other

	sending sync.Mutex // held by who sends an item: they leave one after the other

	mu       sync.Mutex
	changed  chan struct{} // closed and made anew at every change
	in       []item
	err      error  // why nothing comes any more; io.EOF: in order
	broken   error  // why nothing can be sent any more
	sent     uint64 // items
	got      uint64 // items that were read
	used     uint64 // bytes that were sent
	limit    uint64 // of used
	arrived  uint64 // bytes
	read     uint64 // bytes
	credited uint64 // that the peer was told
	cut      bool   // a part of an item was sent, and the rest never will
}

type item struct {
	in   *conn.In
	body []byte
}

// New makes the stream of a call with this number and priority.
func New(p conn.Peer, side Side, seq uint64, lane frame.Priority) *Stream {
	return &Stream{peer: p, side: side, seq: seq, lane: max(lane, frame.PriorityInteractive), changed: make(chan struct{}), limit: Window, credited: Window}
}

// change wakes all who wait. It is called with the lock.
func (s *Stream) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Message takes what has come for the stream: an item, or credit for some. It fails if the
// peer sends more than it may.
func (s *Stream) Message(in *conn.In) error {
	if in.Type != frame.TypeItems {
		return s.Arrived(in, s.side == Server && in.Flags&frame.FlagEnd != 0)
	}
	if limit, err := frame.ParseCredit(in.Body); err == nil {
		s.Credit(uint64(limit))
	}
	return nil
}

// Arrived takes an item from the connection's reader. last tells that the peer sends no
// more of them.
func (s *Stream) Arrived(in *conn.In, last bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil
	}
	if !last || len(in.Body) > 0 {
		s.arrived += uint64(Overhead + len(in.Body))
		if s.arrived > s.credited && s.arrived-s.read > Window+uint64(len(in.Body)) {
			return ErrOverrun
		}
		if len(in.Body) < conn.LongBody {
			s.in = append(s.in, item{body: append([]byte(nil), in.Body...)})
		} else {
			k := in.Keep()
			s.in = append(s.in, item{in: k, body: k.Body})
		}
	}
	if last {
		s.err = io.EOF
	}
	s.change()
	return nil
}

// Credit takes a limit from the peer.
func (s *Stream) Credit(limit uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit > s.limit {
		s.limit = limit
		s.change()
	}
}

// Recv waits for the next item, and returns its bytes, which are the caller's. It fails with
// io.EOF when the peer sends no more, with ctx's cause, or with why the stream is
// broken.
func (s *Stream) Recv(ctx context.Context) ([]byte, error) {
	i, err := s.next(ctx)
	if i.in != nil {
		i.in.Detach()
	}
	return i.body, err
}

// Next is Recv, but the bytes count against what the connection may have, and are the caller's, only until they
// are released.
func (s *Stream) Next(ctx context.Context) ([]byte, conn.Releaser, error) {
	i, err := s.next(ctx)
	if i.in == nil {
		return i.body, nobody{}, err
	}
	return i.body, i.in, err
}

// nobody has what need not be given back.
type nobody struct{}

// Release implements [conn.Releaser].
func (nobody) Release() {}

func (s *Stream) next(ctx context.Context) (item, error) {
	for {
		s.mu.Lock()
		if len(s.in) > 0 {
			i := s.in[0]
			s.in[0] = item{}
			s.in = s.in[1:]
			s.got++
			s.read += uint64(Overhead + len(i.body))
			limit := uint64(0)
			if s.read+Window-s.credited >= Window/2 {
				s.credited = s.read + Window
				limit = s.credited
			}
			over := s.err != nil
			s.mu.Unlock()
			if limit > 0 && !over {
				f := conn.Message{Header: frame.Header{Type: frame.TypeItems, Seq: s.seq}, Body: frame.Credit(limit).Append(nil)}
				_ = s.peer.TrySend(&f) // if there is no room even for this, the connection is about to end
			}
			return i, nil
		}
		err, changed := s.err, s.changed
		s.mu.Unlock()
		if err != nil {
			return item{}, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return item{}, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
		}
	}
}

// Send sends an item, and waits while the receiver is slow. It returns when b is the
// caller's again. If ctx ends when a part of it has left, nothing more is sent: a client's call
// is cancelled then, and a server's must end with an error, see [Stream.Cut].
func (s *Stream) Send(ctx context.Context, b []byte) error {
	return s.send(ctx, b, 0)
}

// CloseSend says that no more items come. Only a client says so; a server's call ends.
func (s *Stream) CloseSend(ctx context.Context) error {
	return s.send(ctx, nil, frame.FlagEnd)
}

func (s *Stream) send(ctx context.Context, b []byte, flags frame.Flags) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	number, err := s.take(ctx, uint64(Overhead+len(b)), flags)
	if err != nil {
		return err
	}
	given := func(err error) error {
		if err != nil {
			return fmt.Errorf("item %d: %w", number, err)
		}
		return nil
	}
	m := conn.Message{Header: frame.Header{Type: frame.TypeCall, Flags: frame.FlagStream | flags, Priority: s.lane, Seq: s.seq}, Body: b}
	if s.side == Server {
		m.Type = frame.TypeReply
	}
	c, socket := s.peer.(*conn.Conn)
	if !socket {
		m.Body = append([]byte(nil), b...) // it goes as it is
		return given(s.peer.Send(ctx, &m))
	}
	if len(b) < conn.LongBody {
		return given(c.Send(ctx, &m))
	}
	r := make(released)
	m.Owner = r
	if err := c.Send(ctx, &m); err != nil {
		return given(err)
	}
	select {
	case <-r: // the connection lets go of it when it ends, too
		return nil
	case <-ctx.Done():
	}
	if !s.giveUp(c, uint64(Overhead+len(b)), r) {
		return nil
	}
	return given(context.Cause(ctx))
}

// giveUp takes an item back, or what is left of it. It returns false if nothing is.
func (s *Stream) giveUp(c *conn.Conn, n uint64, r released) bool {
	unsent, cut := c.Drop(s.seq)
	<-r
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case unsent:
		s.used, s.sent = s.used-n, s.sent-1
		return true
	case !cut:
		return false
	}
	s.cut = true
	if s.broken == nil {
		s.broken = errors.New("an item was given up")
	}
	if s.side == Client {
		_ = c.TrySend(&conn.Message{Header: frame.Header{Type: frame.TypeCancel, Seq: s.seq}})
	}
	return true
}

// Cut tells whether a part of an item was sent, and the rest never will be: its receiver is to be told.
func (s *Stream) Cut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut
}

// released is closed when memory is let go of.
type released chan struct{}

// Release implements [conn.Releaser].
func (r released) Release() { close(r) }

// take waits for credit. The last item may go beyond it: else a long one would wait for the
// credit of short ones, which is not worth a word until more of them are read. It returns the item's number.
func (s *Stream) take(ctx context.Context, n uint64, flags frame.Flags) (number uint64, err error) {
	for {
		s.mu.Lock()
		if s.broken != nil {
			defer s.mu.Unlock()
			return 0, s.broken
		}
		if s.used < s.limit {
			s.used += n
			if flags&frame.FlagEnd != 0 {
				s.broken = errors.New("stream was closed for sending")
			} else {
				s.sent++
			}
			number = s.sent
			s.mu.Unlock()
			return number, nil
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
		}
	}
}

// Break ends a stream: nothing is sent any more, and nothing comes but what has arrived.
// why is io.EOF if all has come that was to come.
func (s *Stream) Break(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = why
	}
	if s.broken == nil {
		s.broken = why
		if errors.Is(why, io.EOF) {
			s.broken = errors.New("call has ended")
		}
	}
	s.change()
}

// Sent is how many items were sent.
func (s *Stream) Sent() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// Received is how many items have arrived.
func (s *Stream) Received() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got + uint64(len(s.in))
}
