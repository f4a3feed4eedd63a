package codec

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"
)

// Args, Quotient and Arith are the example of net/rpc, unchanged.
type Args struct{ A, B int }

type Quotient struct{ Quo, Rem int }

type Arith int

func (t *Arith) Multiply(args *Args, reply *int) error {
	*reply = args.A * args.B
	return nil
}

func (t *Arith) Divide(args *Args, quo *Quotient) error {
	if args.B == 0 {
		return errors.New("divide by zero")
	}
	quo.Quo, quo.Rem = args.A/args.B, args.A%args.B
	return nil
}

func find(t testing.TB, methods []*Method, name string) *Method {
	t.Helper()
	for _, m := range methods {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("there is no %s", name)
	return nil
}

// call sends an argument, invokes the method, and sends the reply back.
func call(ctx context.Context, t testing.TB, m *Method, arg, result any) error {
	t.Helper()
	wire, err := m.ArgCodec.Append(nil, arg)
	if err != nil {
		t.Fatal(err)
	}
	a, reply := m.NewArg(), m.NewReply()
	defer m.FreeArg(a)
	if err := m.ArgCodec.Decode(wire, a); err != nil {
		t.Fatal(err)
	}
	if err := m.Invoke(ctx, a, reply); err != nil {
		return err
	}
	if wire, err = m.ReplyCodec.Append(nil, reply); err != nil {
		t.Fatal(err)
	}
	return m.ReplyCodec.Decode(wire, result)
}

func TestS3_38_ServicesOfNetRPCRunUnchanged(t *testing.T) {
	methods, unsuitable, err := codecs(t).Methods(new(Arith), "")
	if err != nil || len(methods) != 2 || len(unsuitable) != 0 {
		t.Fatalf("%v, %v, %v", methods, unsuitable, err)
	}
	var product int
	if err := call(t.Context(), t, find(t, methods, "Arith.Multiply"), &Args{7, 8}, &product); err != nil || product != 56 {
		t.Errorf("7 · 8 = %d, %v", product, err)
	}
	var q Quotient
	if err := call(t.Context(), t, find(t, methods, "Arith.Divide"), &Args{17, 5}, &q); err != nil || q != (Quotient{3, 2}) {
		t.Errorf("17 / 5 = %v, %v", q, err)
	}
	err = call(t.Context(), t, find(t, methods, "Arith.Divide"), &Args{1, 0}, &q)
	wantError(t, err, "divide by zero")
}

type key struct{}

// Mixed has methods of all sorts.
type Mixed struct{ kept []*Args }

func (m *Mixed) Context(ctx context.Context, a Args, r *string) error {
	*r, _ = ctx.Value(key{}).(string)
	return ctx.Err()
}
func (m *Mixed) ByValue(a Args, r *int) error            { m.kept = append(m.kept, &a); *r = a.A; return nil }
func (m *Mixed) Map(a []string, r *map[string]int) error { (*r)["n"] = len(a); return nil }
func (m *Mixed) Slice(n int, r *[]int) error             { *r = append(*r, n); return nil }
func (m *Mixed) Echo(a []byte, r *[]byte) error          { *r = a; return nil }
func (m *Mixed) Proto(a *durationpb.Duration, r *durationpb.Duration) error {
	r.Seconds = -a.Seconds
	return nil
}
func (m *Mixed) NoReply(a Args) error                          { return nil }
func (m *Mixed) Variadic(a Args, r ...*int) error              { return nil }
func (m *Mixed) ReplyByValue(a Args, r int) error              { return nil }
func (m *Mixed) NoError(a Args, r *int)                        {}
func (m *Mixed) Hidden(a hidden, r *int) error                 { return nil }
func (m *Mixed) HiddenReply(a Args, r *hidden) error           { return nil }
func (m *Mixed) Two(a Args, r *int) (int, error)               { return 0, nil }
func (m *Mixed) OnlyContext(ctx context.Context, a Args) error { return nil }

func TestS3_38_MethodsOfOtherForms(t *testing.T) {
	methods, unsuitable, err := codecs(t).Methods(&Mixed{}, "mix")
	if err != nil || len(methods) != 6 {
		t.Fatalf("%d methods, %v", len(methods), err)
	}
	log := errors.Join(unsuitable...).Error()
	for _, want := range []string{
		"method mix.NoReply has 1 arguments, needs an argument and a pointer for the reply",
		"method mix.Variadic is variadic",
		"method mix.ReplyByValue has a reply of type int, which is not a pointer",
		"method mix.NoError does not return exactly one error",
		"method mix.Hidden has an argument of type codec.hidden, which is not exported",
		"method mix.HiddenReply has a reply of type *codec.hidden, which is not exported",
		"method mix.Two does not return exactly one error",
		"method mix.OnlyContext has 1 arguments",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	if len(unsuitable) != 8 {
		t.Errorf("%d are unsuitable", len(unsuitable))
	}
}

func TestS3_38_ArgumentsAndRepliesOfAllSorts(t *testing.T) {
	methods, _, err := codecs(t).Methods(&Mixed{}, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(t.Context(), key{}, "of the caller")
	var s string
	if err := call(ctx, t, find(t, methods, "Mixed.Context"), Args{}, &s); err != nil || s != "of the caller" {
		t.Errorf("%q, %v", s, err)
	}
	var m map[string]int
	if err := call(ctx, t, find(t, methods, "Mixed.Map"), []string{"a", "b"}, &m); err != nil || m["n"] != 2 {
		t.Errorf("%v, %v", m, err)
	}
	var l []int
	if err := call(ctx, t, find(t, methods, "Mixed.Slice"), 5, &l); err != nil || len(l) != 1 || l[0] != 5 {
		t.Errorf("%v, %v", l, err)
	}
	var b []byte
	if err := call(ctx, t, find(t, methods, "Mixed.Echo"), []byte("raw"), &b); err != nil || string(b) != "raw" {
		t.Errorf("%q, %v", b, err)
	}
	d := &durationpb.Duration{}
	if err := call(ctx, t, find(t, methods, "Mixed.Proto"), &durationpb.Duration{Seconds: 9}, d); err != nil || d.Seconds != -9 {
		t.Errorf("%v, %v", d, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := call(ended, t, find(t, methods, "Mixed.Context"), Args{}, &s); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v lost its identity", err)
	}
}

// A method may keep what it was given. The next call does not change it.
func TestS3_38_KeptArgumentsStayAsTheyAre(t *testing.T) {
	r := &Mixed{}
	methods, _, err := codecs(t).Methods(r, "")
	if err != nil {
		t.Fatal(err)
	}
	m := find(t, methods, "Mixed.ByValue")
	for i := range 100 {
		var got int
		if err := call(t.Context(), t, m, Args{A: i}, &got); err != nil || got != i {
			t.Fatalf("%d, %v", got, err)
		}
	}
	for i, a := range r.kept {
		if a.A != i {
			t.Errorf("argument %d became %d", i, a.A)
		}
	}
	if a := m.NewArg().(*Args); *a != (Args{}) {
		t.Errorf("a new argument is %v", a)
	}
}

type (
	Bad1  struct{}
	Bad2  struct{}
	Bad3  struct{}
	Bad4  struct{}
	Empty struct{}
	Point struct{}
)

func (Bad1) Run(j Job, r *int) error                  { return nil }
func (Bad2) Run(a int, r *[]Job) error                { return nil }
func (Bad3) Run(a durationpb.Duration, r *int) error  { return nil } //nolint:govet // copies a lock: that is what the test is about
func (Bad4) Run(a int, r **durationpb.Duration) error { return nil }
func (*Point) Run(a int, r *int) error                { return nil }

func TestS3_4_MethodsWithSuchTypesAreRefused(t *testing.T) {
	for _, x := range []struct {
		name     string
		receiver any
		want     []string
	}{
		{"a channel in the argument", Bad1{}, []string{"method Bad1.Run: argument: type Job: field Job.Done: chan int cannot be marshalled"}},
		{"a channel in the reply", Bad2{}, []string{"method Bad2.Run: reply: type []codec.Job: field []codec.Job[].Done: chan int"}},
		{"a copy of a message", Bad3{}, []string{"argument is a copy of the protobuf message"}},
		{"a pointer too many", Bad4{}, []string{"reply is a pointer to a pointer"}},
		{"nothing to call", Empty{}, []string{"has no method that can be called: none is exported"}},
		{"a value with methods of its pointer", Point{}, []string{"a pointer to it has more methods"}},
		{"nil", nil, []string{"receiver is nil"}},
		{"a type without an exported name", &hidden{}, []string{"receiver of type *codec.hidden has no exported name"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, _, err := codecs(t).Methods(x.receiver, "")
			wantError(t, err, x.want...)
		})
	}
}
