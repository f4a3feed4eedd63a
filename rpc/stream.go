package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"

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
}

// Recv waits for the client's next item. It fails with io.EOF when there are no more.
func (s *ServerStream[In, Out]) Recv() (In, error) {
	var v In
	b, err := s.items.Recv(s.ctx)
	if err == nil {
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
	return s.items.Send(s.ctx, b) //nolint:wrapcheck // it names the item
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
	s.add(name, func(j *server.Job) (session.Code, []byte) {
		if j.Stream() == nil {
			return session.Invalid, wire.Failure(-1, "method is a stream", nil)
		}
		var a A
		if err := decode(codecs[0], j.Args, &a); err != nil {
			return session.Invalid, wire.Failure(-1, "arguments: "+err.Error(), nil)
		}
		st := &ServerStream[In, Out]{j, j.Stream(), codecs[1], codecs[2]}
		if err := s.intercept(j, func(ctx context.Context) error { st.ctx = ctx; return h(ctx, a, st) }); err != nil {
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
}

// streamer makes streams: a [Client], or a server in this process.
type streamer interface {
	stream(ctx context.Context, u *client.Call, args any) (*client.Stream, *codec.Codecs, error)
}

func (c *Client) stream(ctx context.Context, u *client.Call, args any) (*client.Stream, *codec.Codecs, error) {
	if u.Tries > 1 || u.Hedge {
		return nil, nil, &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: "a stream is started once"}
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
	s, codecs, err := m.stream(ctx, u, args)
	if err != nil {
		return nil, err
	}
	st := &Stream[In, Out]{s: s, codecs: codecs}
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
	return s.s.Send(ctx, b) //nolint:wrapcheck // io.EOF as it is
}

// CloseSend says that no more items come.
func (s *Stream[In, Out]) CloseSend(ctx context.Context) error { return s.s.CloseSend(ctx) } //nolint:wrapcheck // it says all

// Recv waits for the handler's next item. It fails with io.EOF when the handler has returned
// in order and there are no more items, and with an [*Error] if the stream has ended in
// another way.
func (s *Stream[In, Out]) Recv(ctx context.Context) (Out, error) {
	var v Out
	b, err := s.s.Recv(ctx)
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

func (s *Stream[In, Out]) end() error {
	return errorOf(s.s.Result())
}

// Close cancels the stream if the handler has not returned, and returns how it ended.
func (s *Stream[In, Out]) Close() error {
	return errorOf(s.s.Close())
}
