package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// MethodOptions are what a server knows of a method. The zero value is a method that runs
// as often at once as the server allows.
type MethodOptions struct {
	// Concurrency bounds how many calls of it run at once: 1 for what has a device for
	// itself. 0: the server's limit alone.
	Concurrency int
	// Timeout bounds the time of a call, from its arrival on. 0: the server's.
	Timeout time.Duration
	// StreamIdle ends a stream in which no item has gone to the handler or from it for so long: its
	// context ends with [ErrIdle], and so do Recv and Send. 0: never. It is for streams alone.
	StreamIdle time.Duration
	// Inline says that the handler is so short, and never waits, that the reader of the
	// connection may run it. It is not for streams, which wait.
	Inline bool
	// Runs is how often a call is run, if its workers crash and it is [Idempotent] or keeps
	// records. 0: [ServerOptions].Domain.Runs, which is 3; 1: once, so that the crash is told. Streams
	// are never run again.
	Runs int
	// Idempotent says that more than one run of a call is no harm. A call that says so of itself
	// ([Idempotent], [ReadOnly], [AtLeastOnce], [Hedge]) needs it where [ServerOptions].Declared is
	// set. It is no order: what its caller says nothing of runs once.
	Idempotent bool
	// Once says that more than one run is harm: a call that says otherwise is refused, Invalid and
	// NotExecuted. It is what Declared makes of each method that is not Idempotent and has no
	// Lookup.
	Once bool
	// Lookup finds what a call has done in the handler's store, which records it by [Complete]:
	// so it is done once, however often it is asked for, see [ExactlyOnce].
	Lookup Lookup
}

// Handle registers a handler under a name. Arguments and result may be anything that
// package codec marshals: []byte as it is, protobuf messages, and all other Go values as
// CBOR. What cannot be marshalled makes Serve fail, with the path to the field.
//
//	rpc.Handle(s, "Snprintf", func(ctx context.Context, a Args) (string, error) { … })
//
// The context is done when the call's deadline has come, or nobody waits for its result
// any more. []byte arguments are the handler's until it returns; it may return them. They are
// not copied: what is long is memory that the caller has written, if both are on one machine, and
// not to be written here. An [io.Reader] is an argument of the same kind.
func Handle[A, R any](s *Server, name string, h func(context.Context, A) (R, error), opts ...MethodOptions) {
	args, err := s.argsCodec(reflect.TypeFor[A]())
	if err != nil {
		s.reject(name, fmt.Errorf("arguments: %w", err))
		return
	}
	result, err := s.codecs.For(reflect.TypeFor[R]())
	if err != nil {
		s.reject(name, fmt.Errorf("result: %w", err))
		return
	}
	for _, o := range opts {
		if o.StreamIdle != 0 {
			s.reject(name, errors.New("stream idle: it is no stream"))
			return
		}
		if o.Lookup != nil {
			h = once(s, o.Lookup, h)
		}
	}
	t := typed[A, R]{s: s, args: args, result: result, h: h}
	run := t.run
	if f, bytes := any(h).(func(context.Context, []byte) ([]byte, error)); bytes && len(s.opts.Interceptors) == 0 {
		run = func(j *server.Job) (session.Code, []byte) { return runBytes(j, f, t.run) }
	}
	s.add(name, run, handlerOf[A, R](h), opts)
}

// argsCodec is the codec of a handler's arguments: what is read comes as it is.
func (s *Server) argsCodec(t reflect.Type) (codec.Codec, error) {
	if t == reflect.TypeFor[io.Reader]() {
		return codec.Raw{}, nil
	}
	return s.codecs.For(t) //nolint:wrapcheck // the codec says all
}

// typed is a handler with its codecs.
type typed[A, R any] struct {
	s            *Server
	args, result codec.Codec
	h            func(context.Context, A) (R, error)
}

func (t *typed[A, R]) run(j *server.Job) (session.Code, []byte) {
	if j.Stream() != nil {
		return noStream()
	}
	args, result, err := t.s.codecsOf(j, t.args, t.result)
	var a A
	if err == nil {
		err = decode(args, j.Args, &a)
	}
	if borrows, _ := j.Borrows(); borrows && err == nil {
		err = bind(j, reflect.ValueOf(&a).Elem())
	}
	if err != nil {
		return session.Invalid, wire.Failure(-1, "arguments: "+err.Error(), nil)
	}
	var r R
	err = t.s.intercept(j, func(ctx context.Context) (err error) {
		r, err = t.h(ctx, a)
		return err
	})
	if err != nil {
		return failed(j, err)
	}
	if b, raw := any(r).([]byte); raw && result.ID() == codec.IDRaw {
		return session.OK, b
	}
	reply, err := result.Append(j.Scratch(), r)
	if err != nil {
		return session.Failed, wire.Failure(-1, "result: "+err.Error(), nil)
	}
	return session.OK, reply
}

// noStream refuses items to a handler that would not see them, and whose result nobody would.
func noStream() (session.Code, []byte) {
	return session.Invalid, wire.Failure(-1, "method is no stream", nil)
}

// runBytes runs a handler that takes bytes and returns bytes: nothing is marshalled, and
// nothing needs memory.
func runBytes(j *server.Job, h func(context.Context, []byte) ([]byte, error), otherwise server.Run) (session.Code, []byte) {
	if j.Codec != codec.IDRaw || j.Stream() != nil {
		return otherwise(j)
	}
	r, err := h(j, j.Args)
	if err != nil {
		return failed(j, err)
	}
	return session.OK, r
}

// codecsOf returns the codecs for a call: those of the method's types, or CBOR for all if
// the caller knows no types.
func (s *Server) codecsOf(j *server.Job, args, result codec.Codec) (codec.Codec, codec.Codec, error) {
	switch j.Codec {
	case args.ID():
		return args, result, nil
	case codec.IDCBOR:
		return s.codecs.CBOR(), s.codecs.CBOR(), nil
	}
	return nil, nil, otherCodec(j.Codec, args)
}

func otherCodec(id uint8, want codec.Codec) error {
	return fmt.Errorf("codec %d, want %d (%s)", id, want.ID(), want.Name())
}

// decode sets what a points to. A pointer is to a new value; bytes are not copied.
func decode[A any](c codec.Codec, data []byte, a *A) error {
	if c.ID() == codec.IDRaw {
		switch a := any(a).(type) {
		case *[]byte:
			*a = data
			return nil
		case *io.Reader:
			*a = bytes.NewReader(data)
			return nil
		}
	}
	if t := reflect.TypeFor[A](); t.Kind() == reflect.Pointer {
		v := reflect.New(t.Elem())
		if err := c.Decode(data, v.Interface()); err != nil {
			return err //nolint:wrapcheck // the codec says all
		}
		reflect.ValueOf(a).Elem().Set(v)
		return nil
	}
	return c.Decode(data, a) //nolint:wrapcheck // the codec says all
}

// failed is what a caller is told of a handler's error.
func failed(ctx context.Context, err error) (session.Code, []byte) {
	var c *codedError
	if errors.As(err, &c) {
		return session.Code(c.code), wire.Failure(-time.Millisecond, c.Error(), nil)
	}
	var f *failure
	reason, detail := "", []byte(nil)
	if errors.As(err, &f) {
		reason, detail = string(f.reason), f.detail
	} else if code := ending(ctx, err); code != Failed {
		return session.Code(code), wire.Failure(0, err.Error(), nil)
	}
	return session.Failed, wire.Failure(0, err.Error(), appendDetail(nil, reason, detail))
}

// ending is the code of a handler's error that has no reason: if it is that of the call's own
// context, that is what has ended the call.
func ending(ctx context.Context, err error) Code {
	switch why := ctx.Err(); {
	case why == nil || !errors.Is(err, why):
		return Failed
	case errors.Is(why, context.DeadlineExceeded):
		return DeadlineExceeded
	default:
		return Canceled
	}
}

// appendDetail and parseDetail are the detail of a handler's error on the wire: a byte for
// the length of the reason, the reason, and the application's detail.
func appendDetail(dst []byte, reason string, detail []byte) []byte {
	if reason == "" && len(detail) == 0 {
		return dst
	}
	reason = reason[:min(len(reason), 255)]
	return append(append(append(dst, byte(len(reason))), reason...), detail...)
}

func parseDetail(b []byte) (reason string, detail []byte) {
	if len(b) == 0 || int(b[0]) > len(b)-1 {
		return "", nil
	}
	return string(b[1 : 1+int(b[0])]), b[1+int(b[0]):]
}
