package rpc

import (
	"context"
	"errors"
	"reflect"
	"slices"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// Promise is the result of a call that was spawned, as the argument of another call: see
// [Future.Result].
type Promise[R any] struct{ f *Future[R] }

// Result promises the result of a call to others, which need not wait for it: where a server
// is to run both, it puts the one into the arguments of the other itself, and a chain of calls
// takes one round trip.
//
//	module := rpc.Spawn[Handle](ctx, c, "Upload", code)
//	loaded := rpc.Spawn[Handle](ctx, c, "Load", module.Result())
//	output := rpc.Spawn[[]byte](ctx, c, "Run", loaded.Result())
//	b, err := output.Get(ctx)
//
// A call whose promise is broken does not run: it is [Unmet], NotExecuted, and its error
// wraps that of the other call. One that goes to another server than the promised call, or is
// made by another client, waits here until the result has come. So it does if the promised
// call is hedged, or may be made several times.
func (f *Future[R]) Result() Promise[R] { return Promise[R]{f} }

// promised is an argument that is a promise.
type promised interface{ origin() origin }

// origin is the call behind a promise, whatever its result is.
type origin interface {
	ended() <-chan struct{}
	// outcome is what has come of it, once it has ended.
	outcome() (any, error)
	// at is the promise at a client whose call it is, and which has no answer yet; or nil.
	at(c *Client) *session.Promise
	resultType() reflect.Type
	name() string
	// id is its number at its client.
	id() uint64
}

func (p Promise[R]) origin() origin { return p.f }

func (f *Future[R]) ended() <-chan struct{} { return f.done }

func (f *Future[R]) outcome() (any, error) { return f.r, f.err }

func (f *Future[R]) at(c *Client) *session.Promise {
	if f.c != c || f.u == nil {
		return nil
	}
	return c.c.Promise(f.u)
}

func (*Future[R]) resultType() reflect.Type { return reflect.TypeFor[R]() }

func (f *Future[R]) name() string {
	if f.u == nil {
		return "of another client"
	}
	return f.u.Method
}

func (f *Future[R]) id() uint64 { return f.number }

// of notes whose call the future's is, if that can promise its result before it is there.
func (f *Future[R]) of(c Caller, u *client.Call) {
	if u.Tries > 1 || u.Hedge || u.OneWay {
		return
	}
	switch c := c.(type) {
	case *Client:
		if len(c.opts.Interceptors) > 0 { // it is made when they like
			return
		}
		f.c, f.u, f.number = c, u, c.numbers.Add(1)
	case *Batch:
		f.c, f.u, f.number = c.c, u, c.c.numbers.Add(1)
	}
}

// await returns when arguments can be encoded: at once, but for promises that are to be kept
// elsewhere than at c.
func await(ctx context.Context, c *Client, all []origin) error {
	for _, o := range all {
		if c != nil && o.at(c) != nil {
			continue
		}
		select {
		case <-o.ended():
			continue
		default:
		}
		select {
		case <-o.ended():
		case <-ctx.Done():
			return context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
		}
	}
	return nil
}

// waits tells whether await would.
func (c *Client) waits(all []origin) bool {
	return slices.ContainsFunc(all, func(o origin) bool {
		select {
		case <-o.ended():
			return false
		default:
			return o.at(c) == nil
		}
	})
}

// broken is why a promise is broken, nil if that is not known.
func broken(o origin) error {
	select {
	case <-o.ended():
		_, err := o.outcome()
		return err
	default:
		return nil
	}
}

// anyBroken is why one of several promises is broken.
func anyBroken(all []origin) error {
	for _, o := range all {
		if err := broken(o); err != nil {
			return err
		}
	}
	return nil
}

// encodePromise makes a promise a call's arguments, or its result if that is there.
func (c *Client) encodePromise(u *client.Call, o origin, reply any) (own bool, err error) {
	if pr := o.at(c); pr != nil {
		k, err := c.codecs.For(o.resultType())
		if err != nil {
			return true, &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: "arguments: " + err.Error(), cause: err}
		}
		u.Codec, u.Args, u.Needs = k.ID(), u.Args[:0], []*session.Promise{pr}
		u.Cause = func() error { return causeOf(o, pr) }
		u.Whole = func(int) ([]byte, error) { return whole(o, k) }
		return true, nil
	}
	<-o.ended() // it is over, and about to say so
	v, err := o.outcome()
	if err != nil {
		return true, unmet(u.Method, err)
	}
	return c.encode(u, v, reply)
}

// unmet is the error of a call whose promise is broken.
func unmet(method string, why error) *Error {
	return &Error{Method: method, Code: Unmet, Execution: NotExecuted, Message: "its argument: " + why.Error(), cause: why}
}

// causeOf is why a promise was broken.
func causeOf(o origin, pr *session.Promise) error {
	select {
	case <-o.ended():
		_, err := o.outcome()
		return err
	default: // it is about to say so
	}
	e := &Error{Method: o.name(), Code: Code(pr.Outcome.Code), Execution: Execution(pr.Outcome.Execution)}
	e.Retry, e.Message, e.Detail = wire.ParseFailure(pr.Outcome.Reply)
	return e
}

// whole is a result as a codec has it, once it is there.
func whole(o origin, k codec.Codec) ([]byte, error) {
	<-o.ended()
	v, err := o.outcome()
	if err != nil {
		return nil, err
	}
	return k.Append(nil, v) //nolint:wrapcheck // the codec says all
}

// given is an argument for a call within the process: what was promised, once it is there.
func (s *Server) given(ctx context.Context, method string, args any) (any, error) {
	all := s.in(args)
	if all == nil {
		return args, nil
	}
	if err := await(ctx, nil, all); err != nil {
		return nil, notRun(ctx, method, err)
	}
	for _, o := range all {
		if _, err := o.outcome(); err != nil {
			return nil, unmet(method, err)
		}
	}
	if p, ok := args.(promised); ok {
		v, _ := p.origin().outcome()
		return v, nil
	}
	return args, nil
}

// Batch makes several calls as one group of frames: they are made when it is sent, at one server
// as far as that takes them, by one write, and one ack closes them. Calls are spawned in it,
// as in any [Caller], and may need each other's results:
//
//	b := rpc.NewBatch(c)
//	loaded := rpc.Spawn[Handle](ctx, b, "Load", code)
//	output := rpc.Spawn[[]byte](ctx, b, "Run", loaded.Result())
//	b.Send()
//
// It is not safe for concurrent use.
type Batch struct {
	c    *Client
	list []client.Prepared
}

var _ Caller = (*Batch)(nil)

// NewBatch makes an empty batch.
func NewBatch(c *Client) *Batch { return &Batch{c: c} }

// Send makes the calls of the batch, which is empty afterwards.
func (b *Batch) Send() {
	b.c.c.StartAll(b.list)
	b.list = nil
}

// start implements [Caller].
func (b *Batch) start(ctx context.Context, u *client.Call, args, reply any, done func(error)) {
	if u.Tries > 1 || u.Hedge {
		done(&Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: "a batch makes each call once"})
		return
	}
	if b.c.waits(b.c.in(args)) {
		b.c.start(ctx, u, args, reply, done) // alone, when it has its argument
		return
	}
	if err := b.c.encodeNow(u, args, reply); err != nil {
		done(err)
		return
	}
	b.list = append(b.list, b.c.c.Prepare(ctx, u, func(u *client.Call) { done(b.c.decode(u, reply)) }))
}

var errBatch = errors.New("calls of a batch are spawned, not waited for")

// call implements [Caller].
func (*Batch) call(_ context.Context, u *client.Call, _, _ any) error {
	return &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: errBatch.Error(), cause: errBatch}
}
