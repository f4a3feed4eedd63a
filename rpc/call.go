package rpc

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"sync"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/frame"
)

// Caller makes calls: a [Client], or a server in this process ([Server.Local]).
type Caller interface {
	call(ctx context.Context, u *client.Call, args, reply any) error
	start(ctx context.Context, u *client.Call, args, reply any, done func(error))
}

// CallOption changes how one call is made.
type CallOption func(*client.Call)

// Idempotent says that more than one run of the call is no harm: it goes to another server
// when its own is out of reach, and is run again when its worker crashes.
func Idempotent(u *client.Call) { u.Idempotent = true }

// ReadOnly says that the call changes nothing, so it is idempotent.
func ReadOnly(u *client.Call) { u.Idempotent, u.ReadOnly = true, true }

// Hedge makes a call at another server, too, when it takes longer than nineteen of twenty before
// it have: the first answer counts, and the other is cancelled. It is refused for calls that are
// not [ReadOnly]. Where servers are slow one and all it makes no more calls.
func Hedge(u *client.Call) { u.Hedge = true }

// NoRetry sends a call once, as net/rpc does: never again, not even where that would be safe. If its
// connection is lost, the server is asked whether it ran, and lets it not start any more: it ends
// as [Lost], with the truth about that, unless it had its result before. A server that refuses it
// is not followed by another; who none of its bytes has gone to may be. It is refused for calls that say that they
// may run again ([Idempotent], [AtLeastOnce], [ExactlyOnce], [Hedge]).
func NoRetry(u *client.Call) { u.NoRetry = true }

// StreamIdle ends a stream for whose caller no item has come, and from whom none has gone, for so
// long: it is cancelled, and its error wraps [ErrIdle]. Calls that are no streams do not heed it.
func StreamIdle(d time.Duration) CallOption { return func(u *client.Call) { u.Idle = d } }

// OneWay returns as soon as the call is on its way: nobody wants its result. It is still
// made at most once. Arguments that are a []byte must never be changed.
func OneWay(u *client.Call) { u.OneWay = true }

// WaitForReady waits for a server, if none is known or none can be reached, as long as the
// context lasts.
func WaitForReady(u *client.Call) { u.Wait = true }

// Interactive gives a call priority over others.
func Interactive(u *client.Call) { u.Priority = frame.PriorityInteractive }

// Bulk gives others priority over a call.
func Bulk(u *client.Call) { u.Priority = frame.PriorityBulk }

// Lane puts a call into a lane, which any number but 0 names: calls that this client makes
// in one lane at one server start in the order in which they were made, and do not overlap. A server
// that was listed anew while calls were open there is another one until these have ended.
func Lane(key uint64) CallOption { return func(u *client.Call) { u.Lane = key } }

// At sends a call to the server with this id, and to no other.
func At(server string) CallOption { return func(u *client.Call) { u.Server = server } }

// Call calls a method, and returns its result. An error is always an [*Error]: it says
// whether the call has run. A context without a deadline lets it take as long as it takes.
//
// Arguments that are an [io.Reader] are what it reads: once, where that is long straight into memory of the server that
// the call goes to. Its error ends the call as [Invalid], [NotExecuted], and is wrapped. It is the call's until that has
// ended, as the memory of a []byte is.
//
//	s, err := rpc.Call[string](ctx, c, "Snprintf", Args{64, "The answer is %d", 42})
func Call[R any](ctx context.Context, c Caller, method string, args any, opts ...CallOption) (R, error) {
	var r R
	err := CallInto(ctx, c, method, args, &r, opts...)
	return r, err
}

// users are calls that nobody has any more.
var users = sync.Pool{New: func() any { return new(client.Call) }} //nolint:gochecknoglobals // memory, not state

// CallInto is [Call] with room for the result: reply is a pointer. A *[]byte is filled from
// its begin, and grown if need be.
func CallInto(ctx context.Context, c Caller, method string, args, reply any, opts ...CallOption) error {
	u, _ := users.Get().(*client.Call)
	u.Method = method
	for _, o := range opts {
		o(u)
	}
	err := c.call(ctx, u, args, reply)
	kept := u.Args[:0]
	if u.OneWay { // they may be on their way still
		kept = nil
	}
	*u = client.Call{Args: kept}
	users.Put(u)
	return err
}

// CallBytes is [CallInto] for bytes: what comes back is appended to reply[:0]. It needs no
// memory of its own.
func (c *Client) CallBytes(ctx context.Context, method string, args, reply []byte, opts ...CallOption) ([]byte, error) {
	u, _ := users.Get().(*client.Call)
	u.Method, u.Codec = method, codec.IDRaw
	for _, o := range opts {
		o(u)
	}
	kept := u.Args
	u.Args, u.Reply = args, reply
	err := unsafe(u)
	switch {
	case err != nil:
	case len(c.opts.Interceptors) == 0 && u.Tries <= 1 && !u.Hedge:
		c.attemptOnce(ctx, u)
		err = errorOf(u)
	default:
		err = chain(c.opts.Interceptors, ctx, method, func(ctx context.Context) error {
			c.repeat(ctx, u)
			return errorOf(u)
		})
	}
	reply = u.Reply
	*u = client.Call{Args: kept[:0]}
	users.Put(u)
	return reply, err
}

// call implements [Caller].
func (c *Client) call(ctx context.Context, u *client.Call, args, reply any) error {
	if len(c.opts.Interceptors) > 0 {
		return chain(c.opts.Interceptors, ctx, u.Method, func(ctx context.Context) error { return c.do(ctx, u, args, reply) })
	}
	return c.do(ctx, u, args, reply)
}

func (c *Client) do(ctx context.Context, u *client.Call, args, reply any) error {
	if err := await(ctx, c, c.in(args)); err != nil {
		return notRun(ctx, u.Method, err)
	}
	own, err := c.encode(u, args, reply)
	if err != nil {
		return err
	}
	s := sourceOf(u)
	c.repeat(ctx, u)
	if s != nil {
		s.free()
	}
	if !own {
		u.Args = nil // the caller's
	}
	return c.decode(u, reply)
}

// start implements [Caller].
func (c *Client) start(ctx context.Context, u *client.Call, args, reply any, done func(error)) {
	if all := c.in(args); c.waits(all) {
		go func() {
			if err := await(ctx, c, all); err != nil {
				done(notRun(ctx, u.Method, err))
				return
			}
			c.start(ctx, u, args, reply, done)
		}()
		return
	}
	if _, err := c.encode(u, args, reply); err != nil {
		done(err)
		return
	}
	if s := sourceOf(u); s != nil {
		told := done
		done = func(err error) {
			s.free()
			told(err)
		}
	}
	if len(c.opts.Interceptors) > 0 { // which may wait
		go func() {
			done(chain(c.opts.Interceptors, ctx, u.Method, func(ctx context.Context) error {
				c.repeat(ctx, u)
				return c.decode(u, reply)
			}))
		}()
		return
	}
	c.repeatAsync(ctx, u, 1, func(u *client.Call) { done(c.decode(u, reply)) })
}

// encode puts the arguments into a call. own tells whether their memory is the call's.
func (c *Client) encode(u *client.Call, args, reply any) (own bool, err error) {
	if err := unsafe(u); err != nil {
		return true, err
	}
	if b, raw := reply.(*[]byte); raw {
		u.Reply = *b
	}
	switch b := args.(type) {
	case []byte:
		u.Codec, u.Args = codec.IDRaw, b
		return false, nil
	case nil:
		u.Codec, u.Args = codec.IDCBOR, append(u.Args[:0], cborNull)
		return true, nil
	case io.Reader:
		return c.encodeReader(u, b)
	case promised:
		return c.encodePromise(u, b.origin(), reply)
	}
	if all := c.in(args); all != nil {
		if why := anyBroken(all); why != nil {
			return true, unmet(u.Method, why)
		}
		if err = c.encodePlaces(u, args, all); err != nil {
			if why := anyBroken(all); why != nil { // since then
				return true, unmet(u.Method, why)
			}
		}
	} else {
		err = c.encodeWhole(u, args)
	}
	if err == nil && u.Codec == codec.IDCBOR && c.handed.Load() {
		err = c.encodeBlobs(u)
	}
	if err != nil {
		return true, &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: "arguments: " + err.Error(), cause: err}
	}
	return true, nil
}

// encodeWhole puts arguments into a call that have no promises in them, or none that is not
// kept.
func (c *Client) encodeWhole(u *client.Call, args any) error {
	k, err := c.codecs.For(reflect.TypeOf(args))
	if err != nil {
		return err //nolint:wrapcheck // the codec says all
	}
	u.Codec = k.ID()
	u.Args, err = k.Append(u.Args[:0], args)
	return err //nolint:wrapcheck // the codec says all
}

// cborNull is nothing, in CBOR.
const cborNull = 0xf6

// decode takes the result out of a call.
func (c *Client) decode(u *client.Call, reply any) error {
	if err := errorOf(u); err != nil {
		return err
	}
	if u.OneWay { // there is none
		return nil
	}
	switch r := reply.(type) {
	case nil:
		return nil
	case *[]byte:
		*r = u.Reply
		return nil
	}
	k, err := c.codecs.For(reflect.TypeOf(reply).Elem())
	if err == nil {
		err = k.Decode(u.Reply, pointee(reply))
	}
	if err != nil {
		return &Error{
			Method: u.Method, Code: Invalid, Execution: Executed, XID: u.XID, Attempts: u.Attempts,
			Message: fmt.Sprintf("result of %d bytes: %v", len(u.Reply), err), cause: err,
		}
	}
	return nil
}

// pointee is what a result is decoded to: a pointer to a pointer gets a new value.
func pointee(reply any) any {
	v := reflect.ValueOf(reply).Elem()
	if v.Kind() != reflect.Pointer {
		return reply
	}
	if v.IsNil() {
		v.Set(reflect.New(v.Type().Elem()))
	}
	return v.Interface()
}
