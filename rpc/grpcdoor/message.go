package grpcdoor

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"rpcpool.dev/rpc/conn"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
)

// Messages have room ([Options].Room): who finds none is refused, and nothing waits for it here, so that
// what a connection's reader brings is never held up by what others have sent.
//
//	 RPC             its message's length       it has come        the call has ended, or kept nothing
//	─────▶ allowance ───────────────────▶ room ────────────▶ room ─────────────────────────────────────▶ none
//	  │                      │                    until the RPC ends: the allowance
//	  └──────────┬───────────┘
//	             ▼ there is none
//	     RESOURCE_EXHAUSTED
const (
	// allowance is what an RPC takes, bytes: what comes of it before anybody looks, which is a stream's
	// window, and all of a message that is no longer.
	allowance = 64 << 10
	// chunk is how much of a long message may come before it is put where it belongs, bytes.
	chunk = 1 << 20
	// probes is how many RPCs may ask for health at the same time: they need no room.
	probes = 256
	// arriveAfter is how long a message may take to come, and arrivePace how much of it must come in a
	// second besides, bytes: else its connection is closed.
	arriveAfter = 20 * time.Second
	arrivePace  = 256 << 10
)

const noRoom = "the server has no room for the message now: others have sent too much that is still at work; try again later"

// enter lets an RPC in for which there is room. It is called by the reader of its connection.
func (d *Door) enter(ctx context.Context, info *tap.Info) (context.Context, error) {
	leave := func() { d.opts.Room.Put(allowance) }
	switch {
	case isFree(info.FullMethodName):
		if leave = func() { d.probes.Add(-1) }; d.probes.Add(1) > probes {
			leave()
			return ctx, status.Error(codes.ResourceExhausted, "too many ask for health") //nolint:wrapcheck // it is for the client
		}
	case !d.opts.Room.Spare(allowance):
		return ctx, status.Error(codes.ResourceExhausted, noRoom) //nolint:wrapcheck // it is for the client
	}
	context.AfterFunc(ctx, leave)
	return ctx, nil
}

// rpc is what is known of an RPC beside its message.
type rpc struct {
	room     *conn.Room
	taken    int          // of the room, bytes, for the message
	bytes    *conn.Memory // that the message is in; nil: the garbage collector's
	users    atomic.Int32 // of the message: the RPC, and the call's job
	detached atomic.Bool  // the result is in the message's memory
	memory   *owed        // of the answer; nil: that is nobody's
}

type rpcKey struct{}

// rpcOf returns what is known of an RPC, nil if it has not come by gRPC.
func rpcOf(ctx context.Context) *rpc {
	r, _ := ctx.Value(rpcKey{}).(*rpc)
	return r
}

var _ conn.Detacher = (*rpc)(nil)

// Release implements [conn.Releaser].
func (r *rpc) Release() {
	if r.users.Add(-1) == 0 && r.taken > 0 {
		if !r.detached.Load() {
			r.bytes.Release()
		}
		r.room.Put(r.taken)
	}
}

// Detach implements [conn.Detacher]: the result is in the arguments' memory.
func (r *rpc) Detach() {
	r.detached.Store(true)
	r.Release()
}

// described is a method of the service, whose message is read when its client is admitted and there is room.
func described[Q any, P interface {
	*Q
	proto.Message
}, R proto.Message](d *Door, name string, f func(calls, context.Context, P) (R, error)) grpc.MethodDesc {
	full := "/" + pb.Calls_ServiceDesc.ServiceName + "/" + name
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		if err := d.admit(ctx, full); err != nil {
			return nil, final(ctx, err)
		}
		r := &rpc{room: d.opts.Room}
		r.users.Store(1)
		defer r.Release()
		in := P(new(Q))
		if err := d.receive(ctx, r, in, read); err != nil {
			return nil, err
		}
		out, err := f(calls{door: d}, context.WithValue(ctx, rpcKey{}, r), in)
		switch {
		case err != nil:
			return nil, final(ctx, err)
		case r.memory != nil:
			return &reply{out, r.memory}, nil
		}
		return out, nil
	}}
}

// final is an error that stays the same: a library need not try again.
func final(ctx context.Context, err error) error {
	_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "-1"))
	return err
}

// source is a stream of gRPC's transport, as far as it is read here.
type source interface {
	// ReadMessageHeader fills b, with the next bytes of the stream. It fails with io.EOF if
	// there are none.
	ReadMessageHeader(b []byte) error
}

// receive reads the message of an RPC. gRPC would read all of it before anybody could ask how long
// it is.
func (d *Door) receive(ctx context.Context, r *rpc, in proto.Message, read func(any) error) error {
	if d.opts.Room == nil {
		return read(in)
	}
	s, ok := grpc.ServerTransportStreamFromContext(ctx).(source)
	if !ok {
		return status.Error(codes.Internal, "messages of this gRPC cannot be counted") //nolint:wrapcheck // it is for the client
	}
	var head [5]byte
	if err := s.ReadMessageHeader(head[:]); err != nil {
		return broken(err)
	}
	n := int64(binary.BigEndian.Uint32(head[1:]))
	switch {
	case head[0] != 0:
		return status.Error(codes.Unimplemented, "message is compressed") //nolint:wrapcheck // it is for the client
	case n > int64(d.opts.MaxMessage):
		return status.Errorf(codes.ResourceExhausted, "message of %d bytes is longer than %d", n, d.opts.MaxMessage) //nolint:wrapcheck // the same
	}
	body, err := d.body(ctx, r, s, int(n))
	if err != nil {
		return err
	}
	switch err := s.ReadMessageHeader(head[:1]); {
	case err == nil:
		return status.Error(codes.Internal, "there is more than one message") //nolint:wrapcheck // it is for the client
	case !errors.Is(err, io.EOF):
		return broken(err)
	}
	if err := parse(body, in); err != nil {
		return status.Error(codes.Internal, "message is malformed: "+err.Error()) //nolint:wrapcheck // the same
	}
	return nil
}

// body reads n bytes, which have room while a call may have them. Short ones are copied by calls.
func (d *Door) body(ctx context.Context, r *rpc, s source, n int) (body []byte, err error) {
	if n >= conn.LongBody {
		if !d.opts.Room.Spare(n) {
			return nil, status.Error(codes.ResourceExhausted, noRoom) //nolint:wrapcheck // it is for the client
		}
		r.taken = n
		body, r.bytes = d.opts.Room.Memory(n)
	} else {
		body = make([]byte, n)
	}
	if n > allowance {
		ahead := min(n, chunk)
		if !d.opts.Room.Spare(ahead) {
			return nil, status.Error(codes.ResourceExhausted, noRoom) //nolint:wrapcheck // it is for the client
		}
		defer d.opts.Room.Put(ahead)
		if c := clientOf(ctx); c != nil {
			late := time.AfterFunc(arriveAfter+time.Duration(n)*time.Second/arrivePace, func() { _ = c.Close() })
			defer late.Stop()
		}
	}
	for rest := body; len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
		if err := s.ReadMessageHeader(rest[:min(chunk, len(rest))]); err != nil {
			return nil, broken(err)
		}
	}
	return body, nil
}

// broken is why a message has not come, as gRPC says it.
func broken(err error) error {
	switch _, is := status.FromError(err); {
	case is:
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return status.Error(codes.Internal, "message is cut short") //nolint:wrapcheck // it is for the client
	}
	return status.Error(codes.Unavailable, err.Error()) //nolint:wrapcheck // the same
}

// argsField is InvokeRequest's field args.
const argsField = 6

// parse reads a message. Arguments are not copied.
func parse(b []byte, in proto.Message) error {
	invoke, ok := in.(*pb.InvokeRequest)
	if !ok || len(b) < conn.LongBody {
		return proto.Unmarshal(b, in) //nolint:wrapcheck // the caller does
	}
	var args, others []byte
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n) //nolint:wrapcheck // the caller does
		}
		value := protowire.ConsumeFieldValue(field, kind, b[n:])
		if value < 0 {
			return protowire.ParseError(value) //nolint:wrapcheck // the caller does
		}
		if field == argsField && kind == protowire.BytesType {
			args, _ = protowire.ConsumeBytes(b[n:])
		} else {
			others = append(others, b[:n+value]...)
		}
		b = b[n+value:]
	}
	err := proto.Unmarshal(others, invoke)
	invoke.Args = args
	return err //nolint:wrapcheck // the caller does
}
