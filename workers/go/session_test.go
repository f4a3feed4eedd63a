package worker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
	"rpcpool.dev/workers/go/client"
	"rpcpool.dev/workers/go/internal/doortest"
)

var (
	float32s = tvm.DataType{Code: tvm.DTypeFloat, Bits: 32, Lanes: 1}
	bytes8   = tvm.DataType{Code: tvm.DTypeUInt, Bits: 8, Lanes: 1}
	flavours = []tvm.Flavour{tvm.FlavourA, tvm.FlavourB, tvm.FlavourC}
)

func register(tb testing.TB, s *worker.Server, functions map[string]any) {
	tb.Helper()
	for name, fn := range functions {
		if err := s.Register(name, fn); err != nil {
			tb.Fatal(err)
		}
	}
}

// open starts a session with s over TCP.
func open(tb testing.TB, s *worker.Server, f tvm.Flavour, tolerant ...error) *client.Session {
	tb.Helper()
	session, err := client.Dial(tb.Context(), doortest.Open(tb, s, tolerant...), "k:1", client.Options{Flavour: f})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { session.Close() })
	return session
}

// call calls a function that must succeed.
func call(tb testing.TB, s *client.Session, name string, args ...any) any {
	tb.Helper()
	result, err := s.Call(tb.Context(), name, args...)
	if err != nil {
		tb.Fatal(err)
	}
	return result
}

func inEveryFlavour(t *testing.T, test func(t *testing.T, f tvm.Flavour)) {
	for _, f := range flavours {
		t.Run("flavour "+f.String(), func(t *testing.T) { test(t, f) })
	}
}

func TestRandomValuesComeBack(t *testing.T) {
	inEveryFlavour(t, func(t *testing.T, f tvm.Flavour) {
		s := worker.New(f)
		register(t, s, map[string]any{"echo": func(x any) any { return x }})
		session := open(t, s, f)
		ctx := t.Context()
		rapid.Check(t, func(t *rapid.T) {
			want := rapid.OneOf(
				rapid.Just[any](nil), rapid.Int64().AsAny(), rapid.Float64().AsAny(), rapid.String().AsAny(),
				rapid.SliceOf(rapid.Byte()).AsAny(),
				rapid.Just[any](tvm.Device{Type: 1, ID: 3}), rapid.Just[any](float32s), rapid.Just[any](true),
			).Draw(t, "value")
			got, err := session.Call(ctx, "echo", want)
			if err != nil {
				t.Fatal(err)
			}
			if b, ok := want.(bool); ok && b && f == tvm.FlavourA {
				want = int64(1) // this flavour has no bool that all its releases know
			}
			if b, ok := want.([]byte); ok && len(b) == 0 {
				want, got = []byte{}, append([]byte{}, got.([]byte)...)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	})
}

func TestFunctionsOfEveryShape(t *testing.T) {
	type celsius float32
	type label string
	functions := map[string]any{
		"nothing": func() {},
		"small":   func(a int8, b uint16) int32 { return int32(a) + int32(b) },
		"named":   func(c celsius, l label) label { return l + label(rune('0'+int(c))) },
		"negate":  func(b bool) bool { return !b },
		"fails":   func() error { return errors.New("out of luck") },
		"maybe": func(ok bool) (string, error) {
			return map[bool]string{true: "yes"}[ok], map[bool]error{false: errors.New("no")}[ok]
		},
		"variadic": func(sep string, rest ...int) int { return len(sep) + len(rest) },
		"packed":   func(args ...any) (any, error) { return int64(len(args)), nil },
		"func":     worker.Func(func(args ...any) (any, error) { return args[0], nil }),
		"dir":      func(s *worker.Session, n int) string { return strings.Repeat(s.WorkDir(), n) },
		"huge":     func() uint64 { return math.MaxUint64 },
		"odd":      func() any { return []int{1} },
		"late":     func() any { return errors.New("a result that is an error") },
		"dev":      func(d tvm.Device, t tvm.DataType) string { return fmt.Sprint(d.Type, d.ID, " ", t) },
		"raw":      func(v tvm.Value) string { return v.Kind.String() },
		"bytes":    func(b []byte) int { return len(b) },
		"alive":    func(s *worker.Session) bool { return s.Context().Err() == nil },
		"apply":    func(f worker.Func, x any) (any, error) { return f(x) },
		"applyInt": func(f func(int64) int64, x int64) int64 { return f(x) },
		"adder":    func(n int64) func(int64) int64 { return func(x int64) int64 { return x + n } },
		"sum": func(t *worker.Tensor) (float64, error) {
			var sum float64
			values, err := worker.Elements[float32](t)
			for _, v := range values {
				sum += float64(v)
			}
			return sum, err
		},
		"panics": func(i int) int { return []int{1}[i] },
	}
	cases := []struct {
		name   string
		args   []any
		want   any
		reason string // of the exception, if one is wanted
	}{
		{name: "nothing"},
		{name: "small", args: []any{-128, 65535}, want: int64(65407)},
		{name: "small", args: []any{128, 0}, reason: "small: argument #0: 128 does not fit int8"},
		{name: "small", args: []any{0, -1}, reason: "small: argument #1: -1 does not fit uint16"},
		{name: "small", args: []any{1}, reason: "small: got 1 arguments, want 2"},
		{name: "small", args: []any{1, 2, 3}, reason: "small: got 3 arguments, want 2"},
		{name: "small", args: []any{"one", 2}, reason: `small: argument #0: want int, got str "one"`},
		{name: "small", args: []any{1, nil}, reason: "small: argument #1: want unsigned int, got null"},
		{name: "named", args: []any{3, []byte("t")}, want: "t3"},
		{name: "named", args: []any{"x", ""}, reason: `named: argument #0: want float, got str "x"`},
		{name: "negate", args: []any{1.5}, reason: "negate: argument #0: want bool, got float 1.5"},
		{name: "fails", reason: "out of luck"},
		{name: "maybe", args: []any{true}, want: "yes"},
		{name: "maybe", args: []any{false}, reason: "no"},
		{name: "variadic", args: []any{"ab"}, want: int64(2)},
		{name: "variadic", args: []any{"ab", 1, 2, 3}, want: int64(5)},
		{name: "variadic", args: []any{"ab", 1, "c"}, reason: `variadic: argument #2: want int, got str "c"`},
		{name: "variadic", reason: "variadic: got 0 arguments, want at least 1"},
		{name: "packed", args: []any{1, nil, "x"}, want: int64(3)},
		{name: "func", args: []any{"same"}, want: "same"},
		{name: "dir", args: []any{2}, want: "/wd/wd"},
		{name: "huge", reason: "does not fit the wire's int64"},
		{name: "odd", reason: "odd: a []int cannot be returned"},
		{name: "late", reason: "a result that is an error"},
		{name: "dev", args: []any{tvm.Device{Type: 1, ID: 2}, float32s}, want: "1 2 float32"},
		{name: "dev", args: []any{1, float32s}, reason: "dev: argument #0: want device, got int 1"},
		{name: "dev", args: []any{tvm.Device{}, "float32"}, reason: `dev: argument #1: want datatype, got str "float32"`},
		{name: "raw", args: []any{tvm.Handle(7)}, want: "handle"},
		{name: "bytes", args: []any{"text"}, want: int64(4)},
		{name: "bytes", args: []any{7}, reason: "bytes: argument #0: want bytes, got int 7"},
		{name: "named", args: []any{1, 2}, reason: "named: argument #1: want str, got int 2"},
		{name: "func", args: []any{tvm.Handle(7)}, want: tvm.Handle(7)},
		{name: "func", args: []any{tvm.Module(7)}, reason: "a module cannot be returned"},
		{name: "panics", args: []any{7}, reason: "panics: panic: runtime error: index out of range [7] with length 1"},
		{name: "panics", args: []any{0}, want: int64(1)}, // the session went on
		{name: "sum", args: []any{"x"}, reason: "sum: argument #0: want tensor"},
		{name: "applyInt", args: []any{3, 4}, reason: "applyInt: argument #0: want function, got int 3"},
	}
	inEveryFlavour(t, func(t *testing.T, f tvm.Flavour) {
		s := worker.New(f)
		s.SetWorkDir("/wd")
		register(t, s, functions)
		session := open(t, s, f)
		for _, c := range cases {
			got, err := session.Call(t.Context(), c.name, c.args...)
			var remote *client.RemoteError
			switch {
			case c.reason == "" && err != nil:
				t.Errorf("%s%v: %v", c.name, c.args, err)
			case c.reason != "" && (!errors.As(err, &remote) || !strings.Contains(remote.Text, c.reason)):
				t.Errorf("%s%v: error %v, want an exception with %q", c.name, c.args, err, c.reason)
			case !cmp.Equal(c.want, got):
				t.Errorf("%s%v = %v, want %v", c.name, c.args, got, c.want)
			}
		}
		wantBool := any(true)
		if f == tvm.FlavourA {
			wantBool = int64(1)
		}
		for _, got := range []any{call(t, session, "negate", false), call(t, session, "alive")} {
			if got != wantBool {
				t.Errorf("true came as %v, want %v", got, wantBool)
			}
		}
	})
}

func TestReturnedFunctions(t *testing.T) {
	inEveryFlavour(t, func(t *testing.T, f tvm.Flavour) {
		s := worker.New(f)
		register(t, s, map[string]any{
			"adder":    func(n int64) func(int64) int64 { return func(x int64) int64 { return x + n } },
			"apply":    func(f worker.Func, x any) (any, error) { return f(x) },
			"applyInt": func(f func(int64) int64, x int64) int64 { return f(x) },
			"applyStr": func(f func(string) string) string { return f("") },
			"noFunc":   func() func() { return nil },
		})
		session, ctx := open(t, s, f), t.Context()
		add5, ok := call(t, session, "adder", 5).(*client.Func)
		if !ok {
			t.Fatal("adder returned no function")
		}
		if got, err := add5.Call(ctx, 37); err != nil || got != int64(42) {
			t.Errorf("add5(37) = %v, %v", got, err)
		}
		if got := call(t, session, "apply", add5, 1); got != int64(6) {
			t.Errorf("apply(add5, 1) = %v", got)
		}
		if got := call(t, session, "applyInt", add5, 2); got != int64(7) {
			t.Errorf("applyInt(add5, 2) = %v", got)
		}
		if _, err := session.Call(ctx, "applyStr", add5); !remoteSays(err, "want func(string) string") {
			t.Errorf("a function of another type was taken: %v", err)
		}
		if _, err := session.Call(ctx, "apply", add5, "x"); !remoteSays(err, "argument #0: want int, got string") {
			t.Errorf("an argument of another type was taken: %v", err)
		}
		if got := call(t, session, "noFunc"); got != nil {
			t.Errorf("a nil function came as %v", got)
		}
		if err := add5.Free(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := add5.Call(ctx, 1); !remoteSays(err, "no function has the handle") {
			t.Errorf("call of a freed function: %v", err)
		}
		if err := add5.Free(ctx); !remoteSays(err, "no function or array object has the handle") {
			t.Errorf("second free: %v", err)
		}
		if _, err := session.Func(ctx, "absent"); !errors.Is(err, client.ErrNoFunction) {
			t.Errorf("look-up of an absent function: %v", err)
		}
	})
}

// TestBytesOutliveTheirCall: a function may keep what it was given, though
// packets share a buffer.
func TestBytesOutliveTheirCall(t *testing.T) {
	inEveryFlavour(t, func(t *testing.T, f tvm.Flavour) {
		var kept [][]byte
		s := worker.New(f)
		register(t, s, map[string]any{
			"keep": func(b []byte) { kept = append(kept, b) },
			"any":  func(x any) { kept = append(kept, x.([]byte)) },
			"get":  func(i int) []byte { return kept[i] },
		})
		session := open(t, s, f)
		want := make([][]byte, 0, 8)
		for i, size := range []int{10, 10, 10, 1000, 100_000, 10} {
			want = append(want, bytes.Repeat([]byte{byte('a' + i)}, size))
			call(t, session, []string{"keep", "any"}[i%2], want[i])
		}
		for i := range want {
			if got := call(t, session, "get", i); !bytes.Equal(got.([]byte), want[i]) {
				t.Errorf("bytes of call %d became %.10q…, want %.10q…", i, got, want[i])
			}
		}
	})
}

func remoteSays(err error, text string) bool {
	var remote *client.RemoteError
	return errors.As(err, &remote) && strings.Contains(remote.Text, text)
}

func floats(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func TestArrays(t *testing.T) {
	inEveryFlavour(t, func(t *testing.T, f tvm.Flavour) {
		s := worker.New(f)
		register(t, s, map[string]any{
			"double": func(t *worker.Tensor) error {
				values, err := worker.Elements[float32](t)
				for i := range values {
					values[i] *= 2
				}
				return err
			},
			"same": func(t *worker.Tensor) *worker.Tensor { return t },
			"tail": func(t *worker.Tensor) *worker.Tensor {
				tail := *t
				tail.Shape, tail.Data = []int64{1}, t.Data[len(t.Data)-4:]
				return &tail
			},
			"make": func(n int64) (*worker.Tensor, error) { return worker.NewTensor(float32s, n, 2) },
			"wrong": func() *worker.Tensor {
				return &worker.Tensor{DType: float32s, Shape: []int64{3}, Data: make([]byte, 4)}
			},
			"none":  func() *worker.Tensor { return nil },
			"isNil": func(t *worker.Tensor) bool { return t == nil },
		})
		session, ctx := open(t, s, f), t.Context()
		a, err := session.NewArray(ctx, float32s, 2, 1)
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string, a *client.Array, want []byte) {
			t.Helper()
			if got, err := a.CopyTo(ctx); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: % x, %v; want % x", what, got, err, want)
			}
		}
		check("fresh array", a, floats(0, 0))
		if err := a.CopyFrom(ctx, floats(1, 2)); err != nil {
			t.Fatal(err)
		}
		call(t, session, "double", a)
		check("after double", a, floats(2, 4))

		same, tail := call(t, session, "same", a).(*client.Array), call(t, session, "tail", a).(*client.Array)
		check("returned array", same, floats(2, 4))
		check("returned part", tail, floats(4))
		if err := tail.CopyFrom(ctx, floats(9)); err != nil {
			t.Fatal(err)
		}
		check("array whose part was written", a, floats(2, 9))

		if err := a.Free(ctx); err != nil {
			t.Fatal(err)
		}
		check("array that a returned one keeps", same, floats(2, 9))
		if err := a.Free(ctx); !remoteSays(err, "no array has the data handle") {
			t.Errorf("second free: %v", err)
		}
		for _, array := range []*client.Array{same, tail} {
			if err := array.Free(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := a.CopyTo(ctx); !remoteSays(err, "no array has the data handle") {
			t.Errorf("copy from a freed array: %v", err)
		}
		if err := a.CopyFrom(ctx, floats(1, 2)); !remoteSays(err, "no array has the data handle") {
			t.Errorf("copy to a freed array: %v", err)
		}
		if _, err := session.Call(ctx, "double", a); !remoteSays(err, "double: argument #0: no array has the data handle") {
			t.Errorf("call with a freed array: %v", err)
		}

		made := call(t, session, "make", 3).(*client.Array)
		if diff := cmp.Diff([]int64{3, 2}, made.Shape()); diff != "" || made.DType() != float32s {
			t.Errorf("made %s%v", made.DType(), made.Shape())
		}
		check("made array", made, make([]byte, 24))
		if _, err := session.Call(ctx, "wrong"); !remoteSays(err, "has 4 bytes, want 12") {
			t.Errorf("array that is not what it says: %v", err)
		}
		if got := call(t, session, "none"); got != nil {
			t.Errorf("nil array came as %v", got)
		}
		if got := call(t, session, "isNil", nil); got != true && got != int64(1) {
			t.Errorf("null came as an array: %v", got)
		}
		ints, err := session.NewArray(ctx, tvm.DataType{Code: tvm.DTypeInt, Bits: 32, Lanes: 1}, 2)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := session.Call(ctx, "double", ints); !remoteSays(err, "tensor of int32: its elements are not float32") {
			t.Errorf("array of another type: %v", err)
		}
	})
}

// TestKeptArrayOutlivesItsHandle: a function may keep an array that the client
// frees, and return it later.
func TestKeptArrayOutlivesItsHandle(t *testing.T) {
	var kept *worker.Tensor
	s := worker.New(tvm.FlavourC)
	register(t, s, map[string]any{
		"keep": func(t *worker.Tensor) { kept = t },
		"get":  func() *worker.Tensor { return kept },
	})
	session, ctx := open(t, s, tvm.FlavourC), t.Context()
	a, err := session.NewArray(ctx, float32s, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.CopyFrom(ctx, floats(1, 2)); err != nil {
		t.Fatal(err)
	}
	call(t, session, "keep", a)
	if err := a.Free(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it has a handle again
		got := call(t, session, "get").(*client.Array)
		if b, err := got.CopyTo(ctx); err != nil || !bytes.Equal(b, floats(1, 2)) {
			t.Errorf("the kept array holds % x, %v", b, err)
		}
	}
}

// TestLargeArray is the size that TVM's own test copies.
func TestLargeArray(t *testing.T) {
	inEveryFlavour(t, func(t *testing.T, f tvm.Flavour) {
		session, ctx := open(t, worker.New(f), f), t.Context()
		const n = 14 << 20
		a, err := session.NewArray(ctx, bytes8, n)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, n)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		for i := range want {
			want[i] = byte(random.Uint32())
		}
		if err := a.CopyFrom(ctx, want); err != nil {
			t.Fatal(err)
		}
		if got, err := a.CopyTo(ctx); err != nil || !bytes.Equal(got, want) {
			t.Errorf("14 MiB came back as %d other bytes, %v", len(got), err)
		}
	})
}

func TestRow076_InitServerPolicy(t *testing.T) {
	cases := []struct {
		name string
		args []tvm.Value
		want string
	}{
		{"constructor arguments", []tvm.Value{tvm.Str("rpc.Connect"), tvm.Str("10.0.0.1")}, `takes no session constructor (2 arguments, first str "rpc.Connect")`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			addr := doortest.Open(t, worker.New(tvm.FlavourC), worker.ErrProtocol)
			_, err := client.Dial(t.Context(), addr, "k:1", client.Options{Flavour: tvm.FlavourC, InitArgs: c.args})
			if !remoteSays(err, c.want) {
				t.Errorf("got %v, want an exception with %q", err, c.want)
			}
		})
	}
	t.Run("version", func(t *testing.T) {
		conn, err := net.Dial("tcp", doortest.Open(t, worker.New(tvm.FlavourC), worker.ErrProtocol))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		hello := tvm.AppendClientHello(nil, "k:1", 0)
		first, err := tvm.AppendPacket(hello, tvm.FlavourC, tvm.InitServer{Version: "0.7.0"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(first); err != nil {
			t.Fatal(err)
		}
		var reply bytes.Buffer
		if _, err := reply.ReadFrom(conn); err != nil {
			t.Fatal(err)
		}
		accept := tvm.AppendAccept(nil, "test")
		want := tvm.AppendException(accept, tvm.FlavourC, `protocol error: client's protocol version is "0.7.0", this worker's is "0.8.0"`)
		if !bytes.Equal(reply.Bytes(), want) {
			t.Errorf("got  %q\nwant %q, then the connection closed", reply.Bytes(), want)
		}
	})
}

func TestClientOfAnotherFlavourIsTold(t *testing.T) {
	for _, f := range []tvm.Flavour{tvm.FlavourA, tvm.FlavourC} {
		t.Run("client of "+f.String(), func(t *testing.T) {
			other := tvm.FlavourA + tvm.FlavourC - f
			conn, done := pipe(t, worker.New(other))
			send(t, conn, f, tvm.InitServer{Version: tvm.ProtocolVersion})
			receive(t, conn)
			send(t, conn, f, tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str("test.addone")}})
			p, err := tvm.DecodePacket(f, receive(t, conn))
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := p.(tvm.Exception); !ok || !strings.Contains(e.Text, "client speaks flavour "+f.String()) {
				t.Errorf("got %v, want an exception in the client's flavour", p)
			}
			if err := <-done; !errors.Is(err, worker.ErrProtocol) {
				t.Errorf("session ended with %v, want a protocol error", err)
			}
		})
	}
}

func TestCancelledContextEndsTheSession(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- worker.New(tvm.FlavourC).ServeConn(ctx, server) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestHooksRunAroundTheSession(t *testing.T) {
	var calls []string
	s := worker.New(tvm.FlavourC)
	register(t, s, map[string]any{
		"tvm.rpc.server.start":    func() { calls = append(calls, "start") },
		"work":                    func() { calls = append(calls, "work") },
		"tvm.rpc.server.shutdown": func() { calls = append(calls, "shutdown") },
	})
	conn, done := pipe(t, s)
	for _, p := range []tvm.Packet{
		tvm.InitServer{Version: tvm.ProtocolVersion},
		tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str("work")}},
		tvm.CallFunc{Handle: 128},
	} {
		send(t, conn, tvm.FlavourC, p)
		receive(t, conn)
	}
	send(t, conn, tvm.FlavourC, tvm.Shutdown{})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"start", "work", "shutdown"}, calls); diff != "" {
		t.Error(diff)
	}
}
