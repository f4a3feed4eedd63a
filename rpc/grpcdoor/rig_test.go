package grpcdoor

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/port"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a core with a native and a gRPC door, at one port.
type rig struct {
	t     testing.TB
	core  *server.Core
	door  *Door
	addr  string
	runs  atomic.Int64  // of "count", "slow" and "deaf"
	enter chan struct{} // has an element for each run of "slow" and "deaf"
	leave chan struct{} // lets one of them end
	close func()
}

func newRig(t testing.TB, core server.Options, opts Options) *rig {
	t.Helper()
	return newRigAt(t, core, opts, port.Options{})
}

func newRigAt(t testing.TB, core server.Options, opts Options, at port.Options) *rig {
	t.Helper()
	r := &rig{t: t, enter: make(chan struct{}, 64), leave: make(chan struct{}, 64)}
	local := &server.Local{Log: slog.New(slog.DiscardHandler)}
	var err error
	if r.core, err = server.New(local, core); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]server.Run{
		"echo": echo, "fail": failing, "count": r.count, "slow": r.slow, "deaf": r.deaf, "left": left, "trace": trace,
		"loud": func(*server.Job) (session.Code, []byte) {
			return session.Failed, wire.Failure(time.Second, strings.Repeat("ü", 512), make([]byte, 5000))
		},
		"panic": func(*server.Job) (session.Code, []byte) { panic("ouch") },
		"picky": func(*server.Job) (session.Code, []byte) {
			return session.Invalid, wire.Failure(0, "no such arguments", nil)
		},
	} {
		if err := r.core.Register(server.Method{Name: name, Run: run}); err != nil {
			t.Fatal(err)
		}
	}
	if r.door, err = New(r.core, opts); err != nil {
		t.Fatal(err)
	}
	native, err := conn.NewServer(conn.ServerOptions{Handler: server.NewDoor(r.core), Admit: func(h *frame.Hello) frame.HelloAck {
		return frame.Answer(h, frame.HelloAck{Codecs: 7, Features: frame.FeatureStreams})
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := port.New(l, at)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	var running sync.WaitGroup
	toGRPC, toNative := p.Listen(frame.ProtocolHTTP2), p.Listen(frame.ProtocolNative)
	running.Go(func() { _ = r.door.Serve(toGRPC) })
	running.Go(func() { _ = native.Serve(toNative) })
	running.Go(func() { _ = p.Serve() })
	r.close = sync.OnceFunc(func() {
		_ = p.Close()
		_ = native.Close()
		_ = r.door.Close()
		running.Wait()
		close(r.leave)
		_ = local.Close()
		_ = r.core.Close()
	})
	t.Cleanup(r.close)
	return r
}

func echo(j *server.Job) (session.Code, []byte) { return session.OK, j.Args }

func failing(j *server.Job) (session.Code, []byte) {
	return session.Failed, wire.Failure(1500*time.Millisecond, "no: "+string(j.Args[:min(len(j.Args), 20)]), j.Args)
}

func left(j *server.Job) (session.Code, []byte) {
	left, _ := j.Left()
	return session.OK, []byte(left.Round(time.Hour).String())
}

func trace(j *server.Job) (session.Code, []byte) {
	return session.OK, append([]byte{j.Codec}, j.Trace...)
}

func (r *rig) count(j *server.Job) (session.Code, []byte) {
	r.runs.Add(1)
	return session.OK, append([]byte("ran with "), j.Args...)
}

// slow ends when it is let, or interrupted.
func (r *rig) slow(j *server.Job) (session.Code, []byte) {
	r.runs.Add(1)
	r.enter <- struct{}{}
	select {
	case <-r.leave:
		return session.OK, []byte("slowly")
	case <-j.Done():
		return session.Failed, wire.Failure(0, j.Err().Error(), nil)
	}
}

// deaf ends when it is let.
func (r *rig) deaf(*server.Job) (session.Code, []byte) {
	r.runs.Add(1)
	r.enter <- struct{}{}
	<-r.leave
	return session.OK, []byte("at last")
}

// dial connects a client: each has an HTTP/2 connection of its own.
func (r *rig) dial(opts ...grpc.DialOption) pb.CallsClient {
	r.t.Helper()
	return pb.NewCallsClient(r.conn(opts...))
}

func (r *rig) conn(opts ...grpc.DialOption) *grpc.ClientConn {
	r.t.Helper()
	c, err := grpc.NewClient("passthrough:"+r.addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)),
	}, opts...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// caller is a client as short as it can be.
type caller struct {
	t       testing.TB
	rpc     pb.CallsClient
	session *pb.Session
	seq     uint64
	opened  *pb.OpenResponse
}

func (r *rig) open(rpc pb.CallsClient) *caller {
	r.t.Helper()
	o, err := rpc.Open(soon(r.t), &pb.OpenRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	return &caller{r.t, rpc, o.GetSession(), 0, o}
}

// next makes a request of the next call.
func (c *caller) next(method, args string) *pb.InvokeRequest {
	c.seq++
	return &pb.InvokeRequest{Session: c.session, Seq: c.seq, Method: method, Args: []byte(args)}
}

func (c *caller) call(method, args string) (string, error) {
	c.t.Helper()
	in := c.next(method, args)
	in.Ack = c.seq - 1
	out, err := c.rpc.Invoke(soon(c.t), in)
	return string(out.GetResult()), err
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// failureOf returns what a status says of a call.
func failureOf(err error) (codes.Code, *pb.Failure) {
	s, _ := status.FromError(err)
	for _, d := range s.Details() {
		if f, ok := d.(*pb.Failure); ok {
			return s.Code(), f
		}
	}
	return s.Code(), nil
}

// wants fails unless an RPC has ended like that.
func wants(t testing.TB, err error, want codes.Code, code pb.Code, execution pb.Execution) *pb.Failure {
	t.Helper()
	got, f := failureOf(err)
	if f == nil || got != want || f.GetCode() != code || f.GetExecution() != execution {
		t.Errorf("got %v, %v (%v)\nwant %v, %v, %v", got, f, err, want, code, execution)
	}
	return f
}

// answered is what an RPC in the background has ended with.
type answered struct {
	result string
	err    error
}

// later sends a request, and does not wait.
func later(ctx context.Context, rpc pb.CallsClient, in *pb.InvokeRequest) <-chan answered {
	done := make(chan answered, 1)
	go func() {
		out, err := rpc.Invoke(ctx, in)
		done <- answered{string(out.GetResult()), err}
	}()
	return done
}

func (r *rig) entered() {
	r.t.Helper()
	select {
	case <-r.enter:
	case <-soon(r.t).Done():
		r.t.Fatal("handler was not run")
	}
}

func (r *rig) ran(want int64) {
	r.t.Helper()
	if got := r.runs.Load(); got != want {
		r.t.Errorf("handlers were run %d times, want %d", got, want)
	}
}

// until waits until something is so.
func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	ctx := soon(r.t)
	for !is() {
		select {
		case <-ctx.Done():
			r.t.Fatal("it was never so: " + what)
		case <-time.After(time.Millisecond):
		}
	}
}

// uses is how many RPCs are at work on calls.
func (d *Door) uses() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lines {
		n += l.uses
	}
	return n
}

var errNotAdmitted = errors.New("secret reason")
