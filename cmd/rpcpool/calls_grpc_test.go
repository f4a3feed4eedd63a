package main

import (
	"bytes"
	"context"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"

	"rpcpool.dev/internal/faultproxy"
	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/codec"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
)

// foreigner is a client of another language: it has grpc-go and calls.proto.
type foreigner struct {
	t       *testing.T
	rpc     pb.CallsClient
	session *pb.Session
	seq     uint64
}

func newForeigner(t *testing.T, addr string) *foreigner {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	f := &foreigner{t: t, rpc: pb.NewCallsClient(cc)}
	opened, err := f.rpc.Open(t.Context(), &pb.OpenRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	f.session = opened.GetSession()
	return f
}

// next numbers the next call.
func (f *foreigner) next(method, json string) *pb.InvokeRequest {
	f.t.Helper()
	codecs, err := codec.New(codec.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	args, err := codecs.CBOR().FromJSON(nil, []byte(json))
	if err != nil {
		f.t.Fatal(err)
	}
	f.seq++
	return &pb.InvokeRequest{Session: f.session, Seq: f.seq, Method: method, Args: args, Codec: uint32(codec.IDCBOR)}
}

// invoke asks until there is an answer about the call, however often the connection is
// lost: it is the same call. once ends after the first loss.
func (f *foreigner) invoke(in *pb.InvokeRequest, once bool) ([]byte, *pb.Failure, error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		out, err := f.rpc.Invoke(ctx, in, grpc.WaitForReady(true))
		if err == nil {
			return out.GetResult(), nil, nil
		}
		s, _ := grpcstatus.FromError(err)
		for _, d := range s.Details() {
			if failure, ok := d.(*pb.Failure); ok {
				return nil, failure, nil
			}
		}
		if once || s.Code() != codes.Unavailable {
			return nil, nil, err
		}
	}
}

// TestGRPCCallsRunOnceOverARestart: a gRPC client and a native one use one address of
// `rpcpool serve`, which is killed (-9). In its next life, with the journal, what had
// ended is answered although no answer had got through, what ran is lost, and nothing
// has run twice.
func TestGRPCCallsRunOnceOverARestart(t *testing.T) {
	addr, journal := freeAddr(t), t.TempDir()+"/journal"
	flags := []string{"--listen", addr, "--workers", "2", "--journal", journal}
	life := startCallServer(t, flags...)
	deaf, err := faultproxy.New(func() string { return addr })
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	native, err := rpc.Dial(rpc.ClientOptions{}, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer native.Close()
	type answer struct {
		result  []byte
		failure *pb.Failure
		err     error
	}
	first, second := newForeigner(t, deaf.Addr()), newForeigner(t, addr)
	unheard, cut := first.next("echo", `"once"`), make(chan answer, 1)
	waits := first.next("sleep", "1.5")
	go func() {
		r, failure, err := first.invoke(waits, true)
		cut <- answer{r, failure, err}
	}()
	life.eventually("it runs", func() bool { return life.metric("running") == 1 })
	deaf.Freeze()
	life.eventually("it has ended", func() bool { return life.metric(`calls_total{code="OK",execution="Executed"}`) == 1 })
	runs, lost := second.next("sleep", "3600"), make(chan answer, 1)
	go func() {
		r, failure, err := second.invoke(runs, false)
		lost <- answer{r, failure, err}
	}()
	life.eventually("another runs", func() bool { return life.metric("running") == 1 })
	if got, err := rpc.Call[any](t.Context(), native, "echo", "native"); err != nil || got != "native" {
		t.Errorf("the native client: %v, %v", got, err)
	}
	for protocol, want := range map[string]int{"native": 1, "grpc": 2} {
		if n := life.metric(`connections{protocol="` + protocol + `"}`); n != want {
			t.Errorf("%d connections of %s, want %d", n, protocol, want)
		}
	}

	if err := life.process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = life.wait()
	deaf.Reset()
	deaf.Thaw()
	if a := <-cut; a.err == nil {
		t.Errorf("an answer got through: %+v", a)
	}
	life = startCallServer(t, flags...)

	if got, failure, err := first.invoke(waits, false); err != nil || failure != nil || !bytes.Equal(got, []byte{0xf6}) {
		t.Errorf("what had ended: %x, %v, %v", got, failure, err)
	}
	a := <-lost
	if a.failure.GetCode() != pb.Code_CODE_LOST || a.failure.GetExecution() != pb.Execution_EXECUTION_INDETERMINATE {
		t.Errorf("what ran: %+v", a)
	}
	if n := life.metric(`calls_total{code="OK",execution="Executed"}`); n != 0 {
		t.Errorf("%d calls ran in the second life", n)
	}
	if got, failure, err := first.invoke(unheard, false); err != nil || failure != nil || string(got) != "\x64once" {
		t.Errorf("a call that had not been sent: %q, %v, %v", got, failure, err)
	}
	for range 2 { // the same call, again
		_, _, _ = first.invoke(unheard, false)
	}
	if n := life.metric(`calls_total{code="OK",execution="Executed"}`); n != 1 {
		t.Errorf("%d calls ran in the second life, want the one that came there first", n)
	}
	if n := life.metric("duplicates_total"); n < 4 {
		t.Errorf("%d calls were known to the second life, want 4", n)
	}
	if err := life.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := life.wait(); err != nil {
		t.Errorf("the server, told to stop: %v", err)
	}
}

// TestServeWithoutGRPC: its clients are closed, native ones are served.
func TestServeWithoutGRPC(t *testing.T) {
	s := startCallServer(t, "--grpc=false")
	cc, err := grpc.NewClient("passthrough:"+s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := pb.NewCallsClient(cc).Open(ctx, &pb.OpenRequest{}); grpcstatus.Code(err) != codes.Unavailable {
		t.Errorf("gRPC: %v", err)
	}
	if status, out, errs := s.call("", "echo", "1"); status != exitOK || out != "1\n" {
		t.Errorf("native: status %d, %q, %q", status, out, errs)
	}
}
