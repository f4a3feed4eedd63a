package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// Movable says that values of a type may be handed over within a process as they are: who
// sends one does not touch it afterwards. Bytes are movable; so is what has no pointers in
// it. Everything else is copied, as it would be between processes.
type Movable interface{ Movable() }

// Local makes calls to a server in this process: nothing is marshalled, and movable
// arguments and results are not copied. Deadlines, cancellation, limits, interceptors and
// panics are as they are for others. Streams, and calls of which only a client knows how, such as those
// in a lane, go over a connection within the process, and so do all where handlers run in workers.
type Local struct {
	s    *Server
	over atomic.Bool // the server is closed

	mu sync.Mutex
	c  *Client // of streams, and of calls that a handler alone does not do: these are frames, but no socket has them
}

var _ Caller = (*Local)(nil)

// Local returns a caller of the server's handlers.
// All of them share what there is.
func (s *Server) Local() *Local { return &s.within }

// immediate is a handler as it is called within the process.
type immediate struct {
	method  *server.Method
	records bool // it may have a Lookup
	// take makes the caller's arguments the handler's own, call runs it with them.
	take func(s *Server, args any) (any, error)
	call func(ctx context.Context, s *Server, args, reply any) error
}

// handlerOf makes a handler callable within the process.
func handlerOf[A, R any](h func(context.Context, A) (R, error)) immediate {
	moveA, moveR := movable(reflect.TypeFor[A]()) || reflect.TypeFor[A]() == reflect.TypeFor[io.Reader](), movable(reflect.TypeFor[R]())
	take := func(s *Server, args any) (any, error) {
		if _, same := args.(A); same && moveA {
			return args, nil
		}
		var a A
		if err := s.copyTo(&a, args); err != nil {
			return nil, err
		}
		return a, nil
	}
	return immediate{records: true, take: take, call: func(ctx context.Context, s *Server, args, reply any) error {
		a, _ := args.(A) // nil, if that is what it is
		r, err := h(ctx, a)
		if err != nil || reply == nil {
			return err
		}
		if to, same := reply.(*R); same && moveR {
			*to = r
			return nil
		}
		return s.copyTo(reply, r)
	}}
}

// codedError is a handler's error with another code than Failed.
type codedError struct {
	code Code
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }

func (e *codedError) Unwrap() error { return e.err }

// copyTo sets what to points to, to a copy of v: by the codec, as between processes.
func (s *Server) copyTo(to, v any) error {
	if v == nil {
		return s.codecs.CBOR().Decode([]byte{cborNull}, pointee(to)) //nolint:wrapcheck // the codec says all
	}
	c, err := s.codecs.For(reflect.TypeOf(v))
	if err != nil {
		return err //nolint:wrapcheck // the codec says all
	}
	b, err := c.Append(nil, v)
	if err != nil {
		return err //nolint:wrapcheck // the codec says all
	}
	if raw, ok := to.(*[]byte); ok && c.ID() == codec.IDRaw {
		*raw = b
		return nil
	}
	return c.Decode(b, pointee(to)) //nolint:wrapcheck // the codec says all
}

// movable tells whether values of a type may be handed over as they are.
func movable(t reflect.Type) bool {
	if t.Implements(reflect.TypeFor[Movable]()) || t == reflect.TypeFor[[]byte]() {
		return true
	}
	switch t.Kind() {
	case reflect.Array:
		return movable(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !movable(t.Field(i).Type) {
				return false
			}
		}
		return true
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false
	}
	return true
}

// call implements [Caller].
func (l *Local) call(ctx context.Context, u *client.Call, args, reply any) error {
	if l.connects(u) {
		c, err := l.client(u.Method)
		if err != nil {
			return err
		}
		return c.call(ctx, u, args, reply)
	}
	if l.over.Load() {
		return closed(u.Method)
	}
	s := l.s
	s.mu.Lock()
	d, ok := s.direct[u.Method]
	s.mu.Unlock()
	if !ok {
		return &Error{Method: u.Method, Code: Unimplemented, Execution: NotExecuted, Message: "there is no such method"}
	}
	if d.call == nil {
		return &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: "method is a stream"}
	}
	if err := unsafe(u); err != nil {
		return err
	}
	if u.Idempotent && d.method.Once {
		return &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: "the method is not declared idempotent"}
	}
	if u.As != (XID{}) {
		if !d.method.Recorded {
			return &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: "the method keeps no record of what it has done"}
		}
		ctx = context.WithValue(ctx, asKey{}, u.As)
	}
	args, err := s.given(ctx, u.Method, args)
	if err != nil {
		return err
	}
	args, err = d.take(s, args) // here: the caller may have returned before its goroutine runs
	if err != nil {
		return direrror(ctx, u.Method, &codedError{Invalid, fmt.Errorf("arguments: %w", err)})
	}
	limited := ctx // by the server; who calls waits for the handler, as others do
	if most := s.core.Longest(d.method); most > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, most)
		defer cancel()
	}
	ended, err := s.core.Acquire(limited, d.method, u.Priority)
	if err != nil {
		return notRun(limited, u.Method, err)
	}
	method := u.Method // u is another call's when the caller has returned
	run := func(reply any) (err error) {
		err = errGone // unless it returns
		defer func() {
			err = direrror(limited, method, err)
			ended(outcome(err))
		}()
		err = d.run(limited, s, args, reply)
		return err
	}
	if ctx.Done() == nil {
		return run(reply)
	}
	own := fresh(reply)
	err = l.wait(ctx, method, func() error { return run(own) })
	if err == nil && own != nil && own != reply {
		reflect.ValueOf(reply).Elem().Set(reflect.ValueOf(own).Elem())
	}
	return err
}

// fresh is another place for a result than what to points to: a handler that outlives
// its caller's patience has it for itself.
func fresh(to any) any {
	if v := reflect.ValueOf(to); v.Kind() == reflect.Pointer && !v.IsNil() {
		return reflect.New(v.Type().Elem()).Interface()
	}
	return to
}

// outcome is how a call has ended, as it is counted.
func outcome(err error) (session.Code, session.Execution) {
	var e *Error
	if !errors.As(err, &e) {
		return session.OK, session.Executed
	}
	return session.Code(e.Code), session.Execution(e.Execution)
}

// errGone is the end of a handler that has ended its goroutine.
var errGone = errors.New("handler ended without returning")

// heed is how long a handler whose caller does not wait any more has to say so itself: what a [Client] gives it.
const heed = 100 * time.Millisecond

// wait runs a call that may take longer than its caller waits.
func (l *Local) wait(ctx context.Context, method string, run func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errGone
		defer func() {
			if err == errGone { //nolint:errorlint // that very one
				err = direrror(ctx, method, err)
			}
			done <- err
		}()
		err = run()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	patience := time.NewTimer(heed)
	defer patience.Stop()
	select {
	case err := <-done:
		return err
	case <-patience.C:
	}
	e := notRun(ctx, method, context.Cause(ctx))
	e.Execution = Indeterminate
	return e
}

func notRun(ctx context.Context, method string, err error) *Error {
	e := &Error{Method: method, Code: Refused, Execution: NotExecuted, Message: err.Error(), cause: err}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		e.Code = DeadlineExceeded
	case ctx.Err() != nil:
		e.Code = Canceled
	}
	return e
}

// run runs a handler inside of the interceptors.
func (d *immediate) run(ctx context.Context, s *Server, args, reply any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if s.opts.Log != nil {
				s.opts.Log.Error("handler panicked", "method", d.method.Name, "panic", r, "stack", string(debug.Stack()))
			}
			err = fmt.Errorf("handler panicked: %v", r)
		}
	}()
	if len(s.opts.Interceptors) == 0 {
		return d.call(ctx, s, args, reply)
	}
	return chain(s.opts.Interceptors, ctx, d.method.Name, func(ctx context.Context) error { return d.call(ctx, s, args, reply) })
}

// direrror makes a handler's error what it would be between processes.
func direrror(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Method: method, Code: Failed, Execution: Executed, Message: err.Error(), Attempts: 1}
	var c *codedError
	if errors.As(err, &c) {
		e.Code, e.Message = c.code, c.Error()
		switch c.code {
		case Invalid:
			e.Execution = NotExecuted
		case Lost:
			e.Execution = Indeterminate
		}
		return e
	}
	var f *failure
	if errors.As(err, &f) {
		e.Reason, e.Detail = f.reason, f.detail
		return e
	}
	e.Code = ending(ctx, err)
	return e
}

// connects tells whether a call goes over a connection within the process: its handler is in a worker, or it asks for
// what a client does, such as order, another attempt, or that nobody waits.
func (l *Local) connects(u *client.Call) bool {
	again := u.Tries > 1 && u.As == (XID{})
	return l.s.apart != nil || u.Lane != 0 || u.OneWay || u.Server != "" || again
}

// client is the client at the other end of that connection.
func (l *Local) client(method string) (*Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over.Load() {
		return nil, closed(method)
	}
	if l.c != nil {
		return l.c, nil
	}
	if l.s.apart != nil {
		l.s.apart.start(l.s.core)
	}
	c, err := NewClient(ClientOptions{Service: "local", Codecs: l.s.opts.Codecs})
	if err == nil {
		err = c.Update([]conn.Endpoint{{ID: "local", Local: l.s.conns}})
	}
	if err != nil {
		return nil, &Error{Method: method, Code: Refused, Execution: NotExecuted, Message: err.Error(), cause: err}
	}
	l.c = c
	return c, nil
}

// stream makes a stream.
func (l *Local) stream(ctx context.Context, u *client.Call, args any) (*client.Stream, *codec.Codecs, error) {
	c, err := l.client(u.Method)
	if err != nil {
		return nil, nil, err
	}
	return c.stream(ctx, u, args)
}

// closed is what becomes of a call to a server that is.
func closed(method string) *Error {
	return &Error{Method: method, Code: NoServer, Execution: NotExecuted, Message: "server is closed"}
}

// close ends what goes over the connection, and lets no more calls in.
func (l *Local) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over.Store(true)
	if l.c == nil {
		return nil
	}
	return l.c.Close()
}

// start implements [Caller].
func (l *Local) start(ctx context.Context, u *client.Call, args, reply any, done func(error)) {
	if l.connects(u) {
		c, err := l.client(u.Method)
		if err != nil {
			done(err)
			return
		}
		c.start(ctx, u, args, reply, done)
		return
	}
	own := *u
	go func() { done(l.call(ctx, &own, args, reply)) }()
}
