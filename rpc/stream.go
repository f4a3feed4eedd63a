package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/items"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// ServerStream is a stream at its handler: In comes, Out goes.
type ServerStream[In, Out any] struct {
	ctx     context.Context //nolint:containedctx // of the call
	items   *items.Stream
	in, out codec.Codec
	idle    *idleness
}

// idleness ends a context when nothing has moved for a while. nil: it never does.
type idleness struct {
	after  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// watchIdle makes the context of a stream that ends so.
func watchIdle(ctx context.Context, after time.Duration) (context.Context, *idleness) {
	if after <= 0 {
		return ctx, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &idleness{after, time.AfterFunc(after, func() { cancel(ErrIdle) }), cancel}
}

// moved notes that an item has.
func (i *idleness) moved(err error) {
	if i != nil && err == nil {
		i.timer.Reset(i.after)
	}
}

// stop says that the stream is over.
func (i *idleness) stop() {
	if i != nil {
		i.timer.Stop()
		i.cancel(nil)
	}
}

// Recv waits for the client's next item. It fails with io.EOF when there are no more.
func (s *ServerStream[In, Out]) Recv() (In, error) {
	var v In
	b, err := s.items.Recv(s.ctx)
	if s.idle.moved(err); err == nil {
		err = decode(s.in, b, &v)
	}
	return v, err //nolint:wrapcheck // io.EOF as it is
}

// Send sends an item to the client, and waits while that is slow.
func (s *ServerStream[In, Out]) Send(v Out) error {
	b, err := s.out.Append(nil, v)
	if err != nil {
		return fmt.Errorf("item: %w", err)
	}
	err = s.items.Send(s.ctx, b)
	s.idle.moved(err)
	return err //nolint:wrapcheck // it names the item
}

// HandleStream registers a handler of a stream: args is what it is started with, In what the
// client sends, Out what the handler sends. When it returns, the stream is over. The start is
// made at most once; a stream whose connection is lost is broken.
func HandleStream[A, In, Out any](s *Server, name string, h func(context.Context, A, *ServerStream[In, Out]) error, opts ...MethodOptions) {
	var codecs [3]codec.Codec
	for i, t := range []reflect.Type{reflect.TypeFor[A](), reflect.TypeFor[In](), reflect.TypeFor[Out]()} {
		c, err := s.codecs.For(t)
		if err != nil {
			s.reject(name, fmt.Errorf("%s: %w", [...]string{"arguments", "items in", "items out"}[i], err))
			return
		}
		codecs[i] = c
	}
	var idle time.Duration
	for _, o := range opts {
		if o.Inline || o.Runs > 1 || o.StreamIdle < 0 {
			s.reject(name, fmt.Errorf("inline %t, %d runs, idle %v: a stream waits, is run once, and for no negative time", o.Inline, o.Runs, o.StreamIdle))
			return
		}
		idle = o.StreamIdle
	}
	s.add(name, func(j *server.Job) (session.Code, []byte) {
		if j.Stream() == nil {
			return session.Invalid, wire.Failure(-1, "method is a stream", nil)
		}
		if j.Codec != codecs[0].ID() { // which would hold for the items, too
			return session.Invalid, wire.Failure(-1, "arguments: "+otherCodec(j.Codec, codecs[0]).Error(), nil)
		}
		var a A
		if err := decode(codecs[0], j.Args, &a); err != nil {
			return session.Invalid, wire.Failure(-1, "arguments: "+err.Error(), nil)
		}
		st := &ServerStream[In, Out]{j, j.Stream(), codecs[1], codecs[2], nil}
		err := s.intercept(j, func(ctx context.Context) error {
			st.ctx, st.idle = watchIdle(ctx, idle)
			defer st.idle.stop()
			err := h(st.ctx, a, st)
			if errors.Is(err, ErrIdle) {
				return Fail(ErrIdle, nil, "%w after %v", err, idle)
			}
			return err
		})
		if err != nil {
			return failed(j, err)
		}
		return session.OK, nil
	}, immediate{}, opts)
}

// Stream is a stream at its caller: In goes, Out comes.
type Stream[In, Out any] struct {
	s      *client.Stream
	codecs *codec.Codecs
	in     codec.Codec
	out    codec.Codec
	ctx    context.Context //nolint:containedctx // of the call
	idle   *idleness
}

// streamer makes streams: a [Client], or a server in this process.
type streamer interface {
	stream(ctx context.Context, u *client.Call, args any) (*client.Stream, *codec.Codecs, error)
}

func (c *Client) stream(ctx context.Context, u *client.Call, args any) (*client.Stream, *codec.Codecs, error) {
	if u.Tries > 1 || u.Hedge || u.OneWay {
		return nil, nil, &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: "a stream is started once, and somebody waits for its end"}
	}
	if err := c.encodeNow(u, args, nil); err != nil {
		return nil, nil, err
	}
	if len(c.opts.Interceptors) == 0 {
		return c.c.Stream(ctx, u), c.codecs, nil
	}
	var st *client.Stream
	err := chain(c.opts.Interceptors, ctx, u.Method, func(inner context.Context) error {
		if st != nil {
			st.Close()
		}
		st = c.c.Stream(&valued{ctx, inner}, u)
		return nil
	})
	if err == nil && st == nil {
		err = &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: "an interceptor has not started the stream"}
	}
	if err != nil {
		if st != nil {
			st.Close()
		}
		return nil, nil, err
	}
	return st, c.codecs, nil
}

// valued is a context with the values of another: what an interceptor has put there holds for
// the stream that it is around the start of, but the stream does not end when it returns.
type valued struct {
	context.Context                 //nolint:containedctx // it is one
	values          context.Context //nolint:containedctx // it is one
}

// Value implements [context.Context].
func (v *valued) Value(key any) any { return v.values.Value(key) }

// OpenStream starts a stream. It must be closed. The end of ctx ends it.
func OpenStream[In, Out any](ctx context.Context, c Caller, method string, args any, opts ...CallOption) (*Stream[In, Out], error) {
	m, ok := c.(streamer)
	if !ok {
		return nil, &Error{Method: method, Code: Invalid, Execution: NotExecuted, Message: "streams need a client"}
	}
	u := &client.Call{Method: method}
	for _, o := range opts {
		o(u)
	}
	ctx, idle := watchIdle(ctx, u.Idle)
	s, codecs, err := m.stream(ctx, u, args)
	if err != nil {
		idle.stop()
		return nil, err
	}
	st := &Stream[In, Out]{s: s, codecs: codecs, ctx: ctx, idle: idle}
	if st.in, err = codecs.For(reflect.TypeFor[In]()); err == nil {
		st.out, err = codecs.For(reflect.TypeFor[Out]())
	}
	if err != nil {
		s.Close()
		return nil, &Error{Method: method, Code: Invalid, Execution: NotExecuted, Message: err.Error(), cause: err}
	}
	return st, nil
}

// Send sends an item, and waits while the handler is slow. It fails with io.EOF when the
// handler has returned: Close says how.
func (s *Stream[In, Out]) Send(ctx context.Context, v In) error {
	b, err := s.in.Append(nil, v)
	if err != nil {
		return fmt.Errorf("item: %w", err)
	}
	err = s.s.Send(ctx, b)
	s.idle.moved(err)
	return err //nolint:wrapcheck // io.EOF as it is
}

// CloseSend says that no more items come.
func (s *Stream[In, Out]) CloseSend(ctx context.Context) error { return s.s.CloseSend(ctx) } //nolint:wrapcheck // it says all

// Recv waits for the handler's next item. It fails with io.EOF when the handler has returned
// in order and there are no more items, and with an [*Error] if the stream has ended in
// another way.
func (s *Stream[In, Out]) Recv(ctx context.Context) (Out, error) {
	var v Out
	b, err := s.s.Recv(ctx)
	s.idle.moved(err)
	if errors.Is(err, io.EOF) {
		if e := s.end(); e != nil {
			return v, e
		}
		return v, io.EOF
	}
	if err == nil {
		err = decode(s.out, b, &v)
	}
	return v, err //nolint:wrapcheck // it says all
}

// Received is how many items have arrived.
func (s *Stream[In, Out]) Received() uint64 { return s.s.Received() }

func (s *Stream[In, Out]) end() error { return s.ended(s.s.Result()) }

func (s *Stream[In, Out]) ended(u *client.Call) error {
	s.idle.stop()
	err := errorOf(u)
	var e *Error
	if errors.As(err, &e) && e.Code == Canceled && errors.Is(context.Cause(s.ctx), ErrIdle) {
		e.Message, e.cause = ErrIdle.Error(), ErrIdle
	}
	return err
}

// Close cancels the stream if the handler has not returned, and returns how it ended.
func (s *Stream[In, Out]) Close() error {
	return s.ended(s.s.Close())
}
