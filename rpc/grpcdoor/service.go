package grpcdoor

import (
	"context"
	"math"

	"google.golang.org/protobuf/types/known/durationpb"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/session"
)

// calls is the service, as gRPC sees it.
type calls struct {
	pb.UnimplementedCallsServer

	door *Door
}

var _ pb.CallsServer = calls{}

const badSession = "id and secret of a session have 16 bytes each"

// Open implements [pb.CallsServer].
func (s calls) Open(ctx context.Context, in *pb.OpenRequest) (*pb.OpenResponse, error) {
	d := s.door
	k := newKey(0)
	greeting := &session.Handshake{Session: k.session, Secret: k.secret}
	former, ok := keyOf(in.GetFormer(), 0)
	if in.GetFormer() != nil && !ok {
		a := invalid(badSession)
		return nil, a.status(key{})
	}
	greeting.Former, greeting.Proof = former.session, former.secret
	l := d.join(k, senderOf(ctx))
	defer l.leave()
	if a, ok := l.greet(ctx, &session.Message{Kind: session.Hello, Greeting: greeting}); !ok {
		return nil, a.status(key{})
	}
	d.lose(former)
	return &pb.OpenResponse{
		Session: &pb.Session{Id: k.session[:], Secret: k.secret[:]},
		Domain:  l.welcome.Domain[:], Life: l.welcome.Life,
		Lease: durationpb.New(d.opts.Lease), MaxOpen: uint32(d.opts.MaxOpen),
	}, nil
}

// Invoke implements [pb.CallsServer].
func (s calls) Invoke(ctx context.Context, in *pb.InvokeRequest) (*pb.InvokeResponse, error) {
	d, alone := s.door, in.GetSession() == nil
	k, ok := keyOf(in.GetSession(), in.GetSeq())
	a := check(in, k, ok)
	if a.code == pb.Code_CODE_OK && alone && repeated(ctx) {
		a = misused("a call without a session is not sent twice")
	}
	if a.code != pb.Code_CODE_OK {
		return nil, a.status(k)
	}
	greeting := hello(k, in)
	if alone {
		k = newKey(1)
		greeting = resume(k)
		greeting.Greeting.Resume = false
	}
	l := d.join(k, senderOf(ctx))
	defer l.leave()
	if alone {
		defer l.bye()
	}
	if a, ok = l.greet(ctx, greeting); ok {
		l.call(ctx, in)
		a = l.await(ctx)
	}
	a.open = a.open && !alone // nobody can ask for a call that is alone
	if a.code != pb.Code_CODE_OK {
		return nil, a.status(k)
	}
	return &pb.InvokeResponse{Result: a.result(ctx), Fence: l.confirmed()}, nil
}

// check looks at what no message of a session could say.
func check(in *pb.InvokeRequest, k key, ok bool) answer {
	alone := in.GetSession() == nil
	switch {
	case alone && (in.GetSeq() != 0 || in.GetAck() != 0 || in.GetFence() != nil || in.GetLane() != 0):
		return invalid("a call without a session has no seq, ack, fence and lane")
	case !alone && !ok:
		return invalid(badSession)
	case !alone && k.seq == 0:
		return invalid("seq counts from 1 on")
	case in.GetCodec() > math.MaxUint8:
		return invalid("codec is above 255")
	}
	if err := frame.CheckMethodName([]byte(in.GetMethod())); err != nil {
		return invalid(err.Error())
	}
	return answer{}
}

// call gives a call to the core. It may be known there.
func (l *line) call(ctx context.Context, in *pb.InvokeRequest) {
	d := l.door
	m := &session.Message{
		Kind: session.Call, Seq: l.key.seq, Ack: in.GetAck(), Lane: in.GetLane(),
		Time: d.deadline(ctx), Idempotent: in.GetIdempotent(),
	}
	l.turn.Lock()
	defer l.turn.Unlock()
	var owner conn.Releaser
	r := rpcOf(ctx)
	if r != nil {
		r.users.Add(1)
		owner = r
	}
	message := conn.Owned(frame.Header{Codec: uint8(in.GetCodec()), Priority: frame.PriorityNormal}, frame.Ext{Trace: traceOf(ctx)}, in.GetArgs(), owner)
	_ = l.link.Call(message, m, l.link.Method(in.GetMethod()))
	if r != nil && !message.Kept() {
		r.Release()
	}
	in.Args = nil // the call has what it needs
	l.link.Receive(m)
}

// result returns the result, whose memory is the RPC's from now on.
func (a *answer) result(ctx context.Context) []byte {
	if a.memory == nil {
		return a.body
	}
	r, client := rpcOf(ctx), clientOf(ctx)
	if a.memory.Retain(); r != nil && client != nil { // else it is the garbage collector's
		r.memory = client.take(a.memory, len(a.body))
	}
	return a.body
}

// Cancel implements [pb.CallsServer].
func (s calls) Cancel(ctx context.Context, in *pb.CancelRequest) (*pb.CancelResponse, error) {
	k, ok := keyOf(in.GetSession(), in.GetSeq())
	if !ok || k.seq == 0 {
		a := invalid(badSession + "; seq counts from 1 on")
		return nil, a.status(k)
	}
	l := s.door.join(k, senderOf(ctx))
	defer l.leave()
	if a, ok := l.greet(ctx, hello(k, in)); !ok {
		return nil, a.status(k)
	}
	l.receive(&session.Message{Kind: session.Cancel, Seq: k.seq, Ack: in.GetAck()})
	a := l.await(ctx)
	r := &pb.CancelResponse{Fence: l.confirmed()}
	select {
	case <-l.ended:
	default:
		return nil, a.status(k) // nothing is known yet
	}
	switch a.code {
	case pb.Code_CODE_OK:
		r.Result = a.result(ctx)
	case pb.Code_CODE_EXPIRED, pb.Code_CODE_CLOSED, pb.Code_CODE_MISUSED:
		return nil, a.status(k)
	default:
		r.Failure = a.failure(k)
	}
	return r, nil
}

// Ack implements [pb.CallsServer].
func (s calls) Ack(ctx context.Context, in *pb.AckRequest) (*pb.AckResponse, error) {
	l, a := s.door.word(ctx, in)
	if a.code != pb.Code_CODE_OK {
		return nil, a.status(key{})
	}
	return &pb.AckResponse{Fence: l.confirmed()}, nil
}

// Renew implements [pb.CallsServer].
func (s calls) Renew(ctx context.Context, in *pb.RenewRequest) (*pb.RenewResponse, error) {
	l, a := s.door.word(ctx, in)
	if a.code != pb.Code_CODE_OK {
		return nil, a.status(key{})
	}
	return &pb.RenewResponse{Life: l.welcome.Life, Fence: l.confirmed()}, nil
}

// Close implements [pb.CallsServer]. A session that is not known is closed.
func (s calls) Close(ctx context.Context, in *pb.CloseRequest) (*pb.CloseResponse, error) {
	k, ok := keyOf(in.GetSession(), 0)
	if !ok {
		a := invalid(badSession)
		return nil, a.status(k)
	}
	l := s.door.join(k, senderOf(ctx))
	defer l.leave()
	a, ok := l.greet(ctx, resume(k))
	switch {
	case ok:
		l.bye()
		s.door.lose(k)
	case a.code != pb.Code_CODE_EXPIRED:
		return nil, a.status(k)
	}
	return &pb.CloseResponse{}, nil
}
