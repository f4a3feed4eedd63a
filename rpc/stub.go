package rpc

import (
	"context"

	"rpcpool.dev/rpc/client"
)

// Stub is a method as both sides know it: its name, its types and its options, said once.
//
//	var Snprintf = rpc.Method[Args, string]("Snprintf", rpc.Idempotent)
//
//	Snprintf.Handle(s, snprintf)                // the server
//	text, err := Snprintf.Call(ctx, c, Args{…}) // the client
type Stub[A, R any] struct {
	name string
	opts []CallOption
	with []MethodOptions
}

// Method makes a stub. opts are those of all calls of the method, such as [Idempotent],
// [ReadOnly] or [Lane]; those of one call come after them.
func Method[A, R any](name string, opts ...CallOption) Stub[A, R] {
	return Stub[A, R]{name: name, opts: opts}
}

// With is a stub with what its server is to know of the method.
func (m Stub[A, R]) With(opts MethodOptions) Stub[A, R] {
	m.with = []MethodOptions{opts}
	return m
}

// Name is the method's.
func (m Stub[A, R]) Name() string { return m.name }

// Handle registers its handler, as [Handle] does. opts, if there are any, are in the place of
// those of [Stub.With]. A stub of idempotent calls is a method that is idempotent.
func (m Stub[A, R]) Handle(s *Server, h func(context.Context, A) (R, error), opts ...MethodOptions) {
	if len(opts) == 0 {
		opts = m.with
	}
	Handle(s, m.name, h, declared(m.opts, opts)...)
}

// declared are the options of a method whose stub says how all its calls are.
func declared(calls []CallOption, opts []MethodOptions) []MethodOptions {
	var u client.Call
	for _, o := range calls {
		o(&u)
	}
	if !u.Idempotent || u.As != (XID{}) {
		return opts
	}
	var last MethodOptions
	for _, o := range opts {
		last = o
	}
	last.Idempotent = last.Idempotent || !last.Once
	return []MethodOptions{last}
}

// Call calls it, as [Call] does.
func (m Stub[A, R]) Call(ctx context.Context, c Caller, args A, opts ...CallOption) (R, error) {
	return Call[R](ctx, c, m.name, args, m.all(opts)...)
}

// Spawn calls it and does not wait, as [Spawn] does.
func (m Stub[A, R]) Spawn(ctx context.Context, c Caller, args A, opts ...CallOption) *Future[R] {
	return Spawn[R](ctx, c, m.name, args, m.all(opts)...)
}

// Then is Spawn with what another call has promised: see [Future.Result].
func (m Stub[A, R]) Then(ctx context.Context, c Caller, args Promise[A], opts ...CallOption) *Future[R] {
	return Spawn[R](ctx, c, m.name, args, m.all(opts)...)
}

// SpawnIn is Spawn in a group, as [SpawnIn] does it.
func (m Stub[A, R]) SpawnIn(g *Group, c Caller, args A, opts ...CallOption) *Future[R] {
	return SpawnIn[R](g, c, m.name, args, m.all(opts)...)
}

// Bind is the method as a function: to who calls it, a procedure like any other.
func (m Stub[A, R]) Bind(c Caller, opts ...CallOption) func(context.Context, A) (R, error) {
	all := m.all(opts)
	return func(ctx context.Context, args A) (R, error) { return Call[R](ctx, c, m.name, args, all...) }
}

// all is the options of a call.
func (m Stub[A, R]) all(opts []CallOption) []CallOption {
	if len(opts) == 0 {
		return m.opts
	}
	return append(m.opts[:len(m.opts):len(m.opts)], opts...)
}

// StreamStub is a [Stub] of a stream: it is started with an A, In goes to its handler, Out comes
// back.
type StreamStub[A, In, Out any] struct {
	name string
	opts []CallOption
}

// StreamMethod makes the stub of a stream.
func StreamMethod[A, In, Out any](name string, opts ...CallOption) StreamStub[A, In, Out] {
	return StreamStub[A, In, Out]{name, opts}
}

// Handle registers its handler, as [HandleStream] does.
func (m StreamStub[A, In, Out]) Handle(s *Server, h func(context.Context, A, *ServerStream[In, Out]) error, opts ...MethodOptions) {
	HandleStream(s, m.name, h, declared(m.opts, opts)...)
}

// Open starts it, as [OpenStream] does.
func (m StreamStub[A, In, Out]) Open(ctx context.Context, c Caller, args A, opts ...CallOption) (*Stream[In, Out], error) {
	return OpenStream[In, Out](ctx, c, m.name, args, append(m.opts[:len(m.opts):len(m.opts)], opts...)...)
}
