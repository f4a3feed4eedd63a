package grpcdoor

import (
	"context"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// said is what every message of a client may say of its session.
type said interface {
	GetSession() *pb.Session
	GetAck() uint64
	GetFence() *pb.Fence
}

// keyOf reads whose message it is.
func keyOf(s *pb.Session, seq uint64) (k key, ok bool) {
	k.seq = seq
	ok = len(s.GetId()) == len(k.session) && len(s.GetSecret()) == len(k.secret)
	copy(k.session[:], s.GetId())
	copy(k.secret[:], s.GetSecret())
	return k, ok
}

// resume makes the first message of an RPC. It opens nothing.
func resume(k key) *session.Message {
	return &session.Message{Kind: session.Hello, Greeting: &session.Handshake{Session: k.session, Secret: k.secret, Resume: true}}
}

// hello is resume, with what the client says that it has closed.
func hello(k key, s said) *session.Message {
	m := resume(k)
	m.Ack = s.GetAck()
	if f := s.GetFence(); f != nil {
		m.Closed = &session.Fence{Version: f.GetVersion(), Last: f.GetLast(), Open: f.GetOpen()}
	}
	return m
}

// greet says Hello, and waits until it is accepted. The line has ended if it was not.
func (l *line) greet(ctx context.Context, m *session.Message) (answer, bool) {
	l.receive(m)
	select {
	case <-l.ended:
		return l.answer, false
	case <-l.opened:
		return answer{}, true
	case <-ctx.Done():
		return gaveUp(ctx), false
	}
}

// await waits for the answer about the line's call. The session lives as long as
// somebody waits.
func (l *line) await(ctx context.Context) answer {
	renew := time.NewTicker(l.door.opts.Lease / 4)
	defer renew.Stop()
	for {
		if l.link.Closed(l.key.seq) {
			l.retire()
			l.end(closed) // unless it has ended otherwise
		}
		select {
		case <-l.ended:
			return l.answer
		default:
		}
		select {
		case <-l.ended:
			return l.answer
		case <-renew.C:
			l.receive(&session.Message{Kind: session.Ping})
		case <-ctx.Done():
			return gaveUp(ctx)
		}
	}
}

// gaveUp is the answer to an RPC that has ended before there was one.
func gaveUp(ctx context.Context) answer {
	code := pb.Code_CODE_CANCELED
	if ctx.Err() == context.DeadlineExceeded {
		code = pb.Code_CODE_DEADLINE_EXCEEDED
	}
	a := failed(code, session.Indeterminate, "RPC has ended; the call may go on")
	a.open = true
	return a
}

// word says what Hello is enough for.
func (d *Door) word(ctx context.Context, s said) (*line, answer) {
	k, ok := keyOf(s.GetSession(), 0)
	if !ok {
		return nil, invalid(badSession)
	}
	l := d.join(k, senderOf(ctx))
	defer l.leave()
	a, _ := l.greet(ctx, hello(k, s))
	return l, a
}

// bye ends the session.
func (l *line) bye() { l.receive(&session.Message{Kind: session.Bye}) }

// sender is who has sent an RPC.
type sender struct {
	address string // for people
	who     server.Identity
}

func senderOf(ctx context.Context) sender {
	c := sender{address: "gRPC"}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return c
	}
	if p.Addr != nil {
		c.address, c.who.Socket = p.Addr.String(), p.Addr.Network() == "unix"
	}
	if secure, is := p.AuthInfo.(credentials.TLSInfo); is {
		c.who.Certificates = secure.State.PeerCertificates
	}
	return c
}

// deadline is the RPC's, on the core's clock: its timeout began when gRPC had read it.
func (d *Door) deadline(ctx context.Context) time.Duration {
	at, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(d.core.Now()+time.Until(at), 1)
}

// traceOf returns the RPC's trace context as the core has it, nil if there is none.
func traceOf(ctx context.Context) []byte {
	v := metadata.ValueFromIncomingContext(ctx, "traceparent")
	if len(v) == 0 {
		return nil
	}
	return wire.ParseTrace(v[0])
}

// repeated tells whether the client's gRPC library sends this RPC again.
func repeated(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, "grpc-previous-rpc-attempts")) > 0
}
