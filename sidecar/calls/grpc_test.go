package calls

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/codec"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
)

// dialGRPC connects to the address that the rig's native client has.
func (r *rig) dialGRPC() *grpc.ClientConn {
	r.t.Helper()
	cc, err := grpc.NewClient("passthrough:"+r.server.opts.Listeners[0].Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// invocation is a call without a session.
func invocation(t testing.TB, method, json string) *pb.InvokeRequest {
	t.Helper()
	codecs, err := codec.New(codec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	args, err := codecs.CBOR().FromJSON(nil, []byte(json))
	if err != nil {
		t.Fatal(err)
	}
	return &pb.InvokeRequest{Method: method, Args: args, Codec: uint32(codec.IDCBOR)}
}

// failureOf is what a status says of a call, nil if nothing.
func failureOf(err error) (codes.Code, *pb.Failure) {
	s, _ := status.FromError(err)
	for _, d := range s.Details() {
		if f, ok := d.(*pb.Failure); ok {
			return s.Code(), f
		}
	}
	return s.Code(), nil
}

func (r *rig) health(cc *grpc.ClientConn) healthpb.HealthCheckResponse_ServingStatus {
	out, _ := healthpb.NewHealthClient(cc).Check(soon(r.t), &healthpb.HealthCheckRequest{})
	return out.GetStatus()
}

func TestNativeCallsAndGRPCHaveOnePortAndOneCore(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Options{Metrics: m})
	cc := r.dialGRPC()
	eventually(t, "health checks are told that a worker serves", func() bool { return r.health(cc) == healthpb.HealthCheckResponse_SERVING })
	out, err := pb.NewCallsClient(cc).Invoke(soon(t), invocation(t, "echo", `"hello"`))
	if err != nil || string(out.GetResult()) != "\x65hello" {
		t.Errorf("gRPC: %q, %v", out.GetResult(), err)
	}
	if got, err := r.call("echo", "hello"); err != nil || got != "hello" {
		t.Errorf("native: %v, %v", got, err)
	}
	if n := r.server.Counts().Calls; n[0][rpc.Executed] != 2 {
		t.Errorf("the core has ended %v", n)
	}
	for protocol, n := range r.server.connections() {
		if n != 1 {
			t.Errorf("%d connections of %s", n, protocol)
		}
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// TestDrainOfGRPC: as of native calls. What runs may end, as late as it likes, and what comes
// is refused.
func TestDrainOfGRPC(t *testing.T) {
	r := newRig(t, Options{DrainTimeout: time.Hour})
	cc := r.dialGRPC()
	c := pb.NewCallsClient(cc)
	opened, err := c.Open(soon(t), &pb.OpenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	runs := invocation(t, "sleep", "3600")
	runs.Session, runs.Seq = opened.GetSession(), 1
	ended := make(chan error, 1)
	go func() {
		_, err := c.Invoke(t.Context(), runs)
		ended <- err
	}()
	r.running(1)
	r.stop()
	eventually(t, "it drains", func() bool { return r.health(cc) == healthpb.HealthCheckResponse_NOT_SERVING })
	_, err = c.Invoke(soon(t), invocation(t, "echo", "1"))
	if code, f := failureOf(err); code != codes.Unavailable || f.GetCode() != pb.Code_CODE_REFUSED || f.GetExecution() != pb.Execution_EXECUTION_NOT_EXECUTED {
		t.Errorf("what comes: %v", err)
	}
	if _, err := c.Cancel(soon(t), &pb.CancelRequest{Session: runs.GetSession(), Seq: 1}); err != nil {
		t.Errorf("Cancel: %v", err)
	}
	if _, f := failureOf(<-ended); f.GetCode() != pb.Code_CODE_CANCELED || f.GetExecution() != pb.Execution_EXECUTION_EXECUTED {
		t.Errorf("what runs, woken up: %v", f)
	}
	if err := r.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestACallOverGRPCHasNoMoreTimeThanTheServerGives(t *testing.T) {
	r := newRig(t, Options{MaxTimeout: 100 * time.Millisecond})
	_, err := pb.NewCallsClient(r.dialGRPC()).Invoke(soon(t), invocation(t, "sleep", "3600"))
	if _, f := failureOf(err); f.GetCode() != pb.Code_CODE_DEADLINE_EXCEEDED && f.GetCode() != pb.Code_CODE_FAILED {
		t.Errorf("got %v", err)
	}
}

// TestACrashOverGRPC: the caller is told what is known, as a native one is.
func TestACrashOverGRPC(t *testing.T) {
	r := newRig(t, Options{})
	_, err := pb.NewCallsClient(r.dialGRPC()).Invoke(soon(t), invocation(t, "crash", `"exit"`))
	if code, f := failureOf(err); code != codes.Internal || f.GetCode() != pb.Code_CODE_CRASHED || f.GetExecution() != pb.Execution_EXECUTION_INDETERMINATE {
		t.Errorf("got %v", err)
	}
}

func TestWithoutGRPCItsClientsAreClosed(t *testing.T) {
	r := newRig(t, Options{NoGRPC: true})
	if got, err := r.call("echo", 1); err != nil || got != uint64(1) && got != int64(1) {
		t.Errorf("native: %v (%T), %v", got, got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := pb.NewCallsClient(r.dialGRPC()).Open(ctx, &pb.OpenRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("gRPC: %v", err)
	}
}

// TestAListenerThatIsLostIsAnError, whoever listens there.
func TestAListenerThatIsLostIsAnError(t *testing.T) {
	for _, noGRPC := range []bool{false, true} {
		r := newRig(t, Options{NoGRPC: noGRPC})
		_ = r.server.opts.Listeners[0].Close()
		select {
		case err := <-r.ended:
			r.ended <- err
			if err == nil {
				t.Error("no error")
			}
		case <-soon(t).Done():
			t.Error(errors.New("the server goes on"))
		}
	}
}
