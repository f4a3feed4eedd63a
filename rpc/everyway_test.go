package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/grpcdoor"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
)

// handleEveryWay registers methods that show by their result whether an option holds, also in a worker.
func handleEveryWay(s *Server) {
	visit := make(chan struct{})
	meet := func(ctx context.Context, ms int) (int, error) { // 1 if another call is here within so long
		select {
		case visit <- struct{}{}:
			return 1, nil
		case <-visit:
			return 1, nil
		case <-time.After(time.Duration(ms) * time.Millisecond):
			return 0, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	wait := func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	var mu sync.Mutex
	runs := map[int]int{}
	Handle(s, "Meet", meet)
	Handle(s, "MeetNobody", meet, MethodOptions{Concurrency: 1})
	Handle(s, "Wait", wait)
	Handle(s, "WaitShortly", wait, MethodOptions{Timeout: 50 * time.Millisecond})
	Handle(s, "OnlyOnce", func(_ context.Context, n int) (int, error) { return n, nil }, MethodOptions{Once: true})
	Handle(s, "Repeatable", func(_ context.Context, n int) (int, error) { return n, nil }, MethodOptions{Idempotent: true})
	Handle(s, "Fail", func(context.Context, int) (int, error) { return 0, errors.New("nobody wants to know") })
	Handle(s, "AtTheThirdTime", func(ctx context.Context, key int) (int, error) {
		mu.Lock()
		runs[key]++
		n := runs[key]
		mu.Unlock()
		if n < 3 {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return 3, nil
	})
	HandleStream(s, "Idle", func(_ context.Context, _ int, st *ServerStream[int, int]) error {
		_, err := st.Recv()
		return err
	}, MethodOptions{StreamIdle: 50 * time.Millisecond})
	HandleStream(s, "WaitForItems", func(ctx context.Context, _ int, _ *ServerStream[int, int]) error {
		<-ctx.Done()
		return ctx.Err()
	}, MethodOptions{Timeout: 50 * time.Millisecond})
}

// aWay is one in which a call goes.
type aWay struct {
	name string
	do   func(ctx context.Context, method string, arg int, o ...CallOption) (int, error)
	// stream starts a stream of no items, and returns its end; nil: there are none this way.
	stream func(ctx context.Context, method string, o ...CallOption) error
	batch  bool // its calls are made once, and refused if they should be made more often
	server bool // it has no options of calls
}

// waysOfCalls are all ways to a server of handleEveryWay, and to its workers.
func waysOfCalls(t *testing.T, so ServerOptions) (all []aWay) {
	t.Helper()
	for _, place := range []string{"here", "worker"} {
		if so.Isolate = nil; place == "worker" {
			so.Isolate = &Isolate{Command: []string{os.Args[0]}, Output: io.Discard, Concurrency: 4}
		}
		s, c := serving(t, so, ClientOptions{}, handleEveryWay)
		callers := map[string]Caller{"process": s.Local(), "socket": c}
		for by, caller := range callers {
			stream := func(ctx context.Context, method string, o ...CallOption) error {
				st, err := OpenStream[int, int](ctx, caller, method, 0, o...)
				if err != nil {
					return err
				}
				_, err = st.Recv(ctx)
				return errors.Join(err, st.Close())
			}
			all = append(all, aWay{name: fmt.Sprintf("%s/%s/call", place, by), stream: stream, do: func(ctx context.Context, method string, arg int, o ...CallOption) (int, error) {
				return Call[int](ctx, caller, method, arg, o...)
			}}, aWay{name: fmt.Sprintf("%s/%s/spawn", place, by), do: func(ctx context.Context, method string, arg int, o ...CallOption) (int, error) {
				return Spawn[int](ctx, caller, method, arg, o...).Get(ctx)
			}}, aWay{name: fmt.Sprintf("%s/%s/promise", place, by), do: func(ctx context.Context, method string, arg int, o ...CallOption) (int, error) {
				return Spawn[int](ctx, caller, method, Spawn[int](ctx, caller, "Repeatable", arg).Result(), o...).Get(ctx)
			}})
		}
		all = append(all, aWay{name: place + "/socket/batch", batch: true, do: func(ctx context.Context, method string, arg int, o ...CallOption) (int, error) {
			b := NewBatch(c)
			f := Spawn[int](ctx, b, method, arg, o...)
			b.Send()
			return f.Get(ctx)
		}}, aWay{name: place + "/gRPC", server: true, do: overGRPC(t, s)})
	}
	return all
}

// overGRPC calls a server by its gRPC door.
func overGRPC(t *testing.T, s *Server) func(context.Context, string, int, ...CallOption) (int, error) {
	t.Helper()
	door, err := grpcdoor.New(s.Core(), grpcdoor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "g")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- door.Serve(l) }()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); _ = door.Close(); <-served })
	codecs, err := codec.New(codec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	calls := pb.NewCallsClient(conn)
	return func(ctx context.Context, method string, arg int, o ...CallOption) (int, error) {
		var u client.Call
		for _, f := range o {
			f(&u)
		}
		args, err := codecs.CBOR().Append(nil, arg)
		if err != nil {
			return 0, err
		}
		out, err := calls.Invoke(ctx, &pb.InvokeRequest{Method: method, Args: args, Codec: uint32(codec.IDCBOR), Idempotent: u.Idempotent})
		if err != nil {
			st, _ := status.FromError(err)
			e := &Error{Method: method, Message: err.Error()}
			for _, d := range st.Details() {
				if f, is := d.(*pb.Failure); is {
					e.Code, e.Execution = codeOf(f.GetCode()), Execution(f.GetExecution())
				}
			}
			return 0, e
		}
		var n int
		return n, codecs.CBOR().Decode(out.GetResult(), &n)
	}
}

// codeOf is a code of the gRPC door, by its name.
func codeOf(c pb.Code) Code {
	return map[pb.Code]Code{pb.Code_CODE_DEADLINE_EXCEEDED: DeadlineExceeded, pb.Code_CODE_INVALID: Invalid}[c]
}

// TestEveryOptionHoldsOnEveryWay: a call heeds what is asked of it, or is refused, and a method what its server says of
// it, however the call goes: within the process, over a connection, in a batch, with what another call has promised, by
// gRPC; to a handler here, or in a worker.
func TestEveryOptionHoldsOnEveryWay(t *testing.T) {
	const brief, patient = 50, 10_000 // ms
	type row struct {
		name   string
		method string
		arg    int
		opts   []CallOption
		two    bool // calls at once
		want   int
		errs   []error // that the error is
		call   bool    // it is an option of a call
		again  bool    // it may make the call more than once
		calls  bool    // its end is seen by who does not wait for it
	}
	refused, late := []error{Invalid, NotExecuted}, []error{DeadlineExceeded, context.DeadlineExceeded}
	rows := []row{
		{name: "no option: calls overlap", method: "Meet", arg: patient, two: true, want: 1},
		{name: "Concurrency", method: "MeetNobody", arg: brief, two: true},
		{name: "Timeout", method: "WaitShortly", errs: late},
		{name: "Once", method: "OnlyOnce", arg: 7, opts: []CallOption{Idempotent}, errs: refused},
		{name: "Once, and the call does not say that it is idempotent", method: "OnlyOnce", arg: 7, want: 7},
		{name: "Lane", method: "Meet", arg: brief, two: true, opts: []CallOption{Lane(3)}, call: true},
		{name: "Interactive", method: "Repeatable", arg: 7, opts: []CallOption{Interactive}, want: 7, call: true},
		{name: "At another server", method: "Repeatable", opts: []CallOption{At("nobody")}, errs: []error{NoServer, NotExecuted}, call: true},
		{name: "WaitForReady", method: "Repeatable", arg: 7, opts: []CallOption{WaitForReady}, want: 7, call: true},
		{name: "OneWay", method: "Fail", opts: []CallOption{OneWay}, call: true, calls: true},
		{name: "AtLeastOnce", method: "AtTheThirdTime", opts: []CallOption{Idempotent, AtLeastOnce(brief*time.Millisecond, 99)}, want: 3, call: true, again: true},
		{name: "AtLeastOnce of what is not idempotent", method: "Meet", opts: []CallOption{AtLeastOnce(0, 3)}, errs: refused, call: true},
		{name: "Hedge", method: "Repeatable", arg: 7, opts: []CallOption{ReadOnly, Hedge}, want: 7, call: true, again: true},
		{name: "Hedge of what changes something", method: "Repeatable", opts: []CallOption{Hedge}, errs: refused, call: true},
		{name: "NoRetry", method: "Repeatable", arg: 7, opts: []CallOption{NoRetry}, want: 7, call: true},
		{name: "NoRetry of what may be repeated", method: "Repeatable", opts: []CallOption{NoRetry, Idempotent}, errs: refused, call: true},
		{name: "ExactlyOnce without records", method: "Repeatable", opts: []CallOption{ExactlyOnce(XID{})}, errs: refused, call: true},
	}
	keys := 0
	for _, w := range waysOfCalls(t, ServerOptions{}) {
		for _, r := range rows {
			if r.call && w.server {
				continue
			}
			if r.calls && filepath.Base(w.name) != "call" {
				continue
			}
			if r.again && w.batch {
				r.errs = refused
			}
			if r.method == "AtTheThirdTime" {
				keys++
				r.arg = keys
			}
			t.Run(w.name+"/"+r.name, func(t *testing.T) {
				n := 1
				if r.two {
					n = 2
				}
				var both sync.WaitGroup
				for range n {
					both.Go(func() {
						got, err := w.do(soon(t), r.method, r.arg, r.opts...)
						if r.errs == nil && (err != nil || got != r.want) {
							t.Errorf("%d, %v, want %d", got, err, r.want)
						}
						for _, want := range r.errs {
							if !errors.Is(err, want) {
								t.Errorf("%v, want %v", err, want)
							}
						}
					})
				}
				both.Wait()
			})
		}
		if w.stream == nil {
			continue
		}
		for name, o := range map[string]CallOption{"OneWay": OneWay, "Hedge": Hedge, "AtLeastOnce": AtLeastOnce(0, 2)} {
			if err := w.stream(soon(t), "Idle", o); !errors.Is(err, Invalid) || !errors.Is(err, NotExecuted) {
				t.Errorf("%s: a stream with %s: %v", w.name, name, err)
			}
		}
		if err := w.stream(soon(t), "Idle"); !errors.Is(err, ErrIdle) {
			t.Errorf("%s: a stream that is idle: %v", w.name, err)
		}
		if err := w.stream(soon(t), "WaitForItems"); !errors.Is(err, DeadlineExceeded) {
			t.Errorf("%s: a stream that takes long: %v", w.name, err)
		}
	}
}

// TestOptionsOfAServerHoldOnEveryWay as well.
func TestOptionsOfAServerHoldOnEveryWay(t *testing.T) {
	for _, w := range waysOfCalls(t, ServerOptions{Declared: true, MaxTimeout: 100 * time.Millisecond}) {
		t.Run(w.name, func(t *testing.T) {
			if _, err := w.do(soon(t), "Wait", 0); !errors.Is(err, DeadlineExceeded) {
				t.Errorf("MaxTimeout: %v", err)
			}
			if _, err := w.do(soon(t), "Fail", 0, Idempotent); !errors.Is(err, Invalid) || !errors.Is(err, NotExecuted) {
				t.Errorf("Declared: %v", err)
			}
		})
	}
}

// TestOptionsThatMeanNothingAreRefused, where a method is registered.
func TestOptionsThatMeanNothingAreRefused(t *testing.T) {
	call := func(o MethodOptions) func(*Server) {
		return func(s *Server) { Handle(s, "M", func(context.Context, int) (int, error) { return 0, nil }, o) }
	}
	stream := func(o MethodOptions) func(*Server) {
		return func(s *Server) {
			HandleStream(s, "M", func(context.Context, int, *ServerStream[int, int]) error { return nil }, o)
		}
	}
	for name, register := range map[string]func(*Server){
		"idle, and no stream":        call(MethodOptions{StreamIdle: time.Second}),
		"no time":                    call(MethodOptions{Timeout: -1}),
		"a stream in the reader":     stream(MethodOptions{Inline: true}),
		"a stream that is run again": stream(MethodOptions{Runs: 2}),
		"a stream of negative time":  stream(MethodOptions{StreamIdle: -1}),
		"a stream with records":      stream(MethodOptions{Lookup: new(ledger).lookup}),
	} {
		s, err := NewServer(ServerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if register(s); s.Err() == nil {
			t.Errorf("%s: it is taken", name)
		}
		_ = s.Close()
	}
}
