package grpcdoor

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"

	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/server"
)

// plainEcho is the same service without anything behind it.
type plainEcho struct{ pb.UnimplementedCallsServer }

func (plainEcho) Invoke(_ context.Context, in *pb.InvokeRequest) (*pb.InvokeResponse, error) {
	return &pb.InvokeResponse{Result: in.GetArgs()}, nil
}

// plainServer serves it by grpc-go as it is, on a port of its own.
func plainServer(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer(grpc.WaitForHandlers(true))
	pb.RegisterCallsServer(s, plainEcho{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	b.Cleanup(func() {
		s.Stop()
		<-served
	})
	return l.Addr().String()
}

// BenchmarkInvoke alternates between calls by the door and echoes of grpc-go alone, of
// 64 bytes, each over a connection of its own: whatever else the machine does, it does to
// both.
func BenchmarkInvoke(b *testing.B) {
	r := newRig(b, server.Options{}, Options{})
	c := r.open(r.dial())
	plain := pb.NewCallsClient((&rig{t: b, addr: plainServer(b)}).conn())
	sessionless := r.dial()
	args := make([]byte, 64)
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	var door, alone, floor []time.Duration
	took := func(all *[]time.Duration, rpc pb.CallsClient, in *pb.InvokeRequest) {
		start := time.Now()
		if _, err := rpc.Invoke(ctx, in); err != nil {
			b.Fatal(err)
		}
		*all = append(*all, time.Since(start))
	}
	for b.Loop() {
		c.seq++
		in := &pb.InvokeRequest{Session: c.session, Seq: c.seq, Ack: c.seq - 1, Method: "echo", Args: args}
		took(&floor, plain, in)
		took(&door, c.rpc, in)
		took(&alone, sessionless, &pb.InvokeRequest{Method: "echo", Args: args})
	}
	b.ReportMetric(median(floor), "plain-p50-ns")
	b.ReportMetric(median(door), "door-p50-ns")
	b.ReportMetric(median(alone), "sessionless-p50-ns")
	b.ReportMetric(median(door)/median(floor), "door/plain")
}

func median(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)/2])
}

// BenchmarkDoor is what the door and the core take of it: no gRPC.
func BenchmarkDoor(b *testing.B) {
	r := newRig(b, server.Options{}, Options{})
	c := r.open(r.dial())
	rpc := calls{door: r.door}
	args := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		c.seq++
		in := &pb.InvokeRequest{Session: c.session, Seq: c.seq, Ack: c.seq - 1, Method: "echo", Args: args}
		if _, err := rpc.Invoke(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}
