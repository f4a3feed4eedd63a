package codec

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

type (
	Job struct {
		Name string
		Done chan int
	}
	Step  struct{ Run func() }
	Plan  struct{ Steps map[string][]*Step }
	Loop  []Loop
	Tree  map[string]Tree
	Self  *Self
	List  struct{ Next *List }
	Nodes struct{ Kids []Nodes }
	Away  struct {
		Ran func() `cbor:"-"`
	}
	Gone struct {
		Ran chan int `json:"-"`
	}
	hidden struct{ A int }
	Inner  struct{ hidden }
	Outer  struct{ *hidden }
	Half   struct{ A int }
	Quiet  struct {
		mu sync.Mutex
		N  int
	}
)

func (Half) MarshalBinary() ([]byte, error) { return nil, nil }

func (q *Quiet) Lock() { q.mu.Lock() }

var _ encoding.BinaryMarshaler = Half{}

// What cannot be marshalled is refused before any call, with the way to it.
func TestS3_4_TypesAreRefusedWithTheFieldPath(t *testing.T) {
	c := codecs(t)
	for _, x := range []struct {
		name string
		t    reflect.Type
		want []string
	}{
		{"a channel in a struct", typeFor[Job](), []string{"type Job: field Job.Done: chan int cannot be marshalled"}},
		{"through a pointer", typeFor[*Job](), []string{"type Job: field Job.Done: chan int"}},
		{"a function deep inside", typeFor[Plan](), []string{"type Plan: field Plan.Steps[][].Run: func() cannot be marshalled"}},
		{"a channel", typeFor[chan int](), []string{"type chan int: chan int cannot be marshalled"}},
		{"an unsafe pointer", typeFor[struct{ P unsafe.Pointer }](), []string{".P: unsafe.Pointer"}},
		{"a pointer in disguise", typeFor[[]uintptr](), []string{"field []uintptr[]: uintptr"}},
		{"a complex number", typeFor[complex64](), []string{"complex64"}},
		{"an interface that nothing is registered for", typeFor[struct{ Err error }](), []string{".Err: interface error has methods, and no concrete type"}},
		{"a context", typeFor[context.Context](), []string{"interface context.Context"}},
		{"a map with float keys", typeFor[map[float64]int](), []string{"float64 cannot be the key of a map"}},
		{"a map with struct keys", typeFor[map[Square]int](), []string{"codec.Square cannot be the key of a map"}},
		{"a map with pointer keys", typeFor[map[*int]int](), []string{"*int cannot be the key of a map"}},
		{"a struct that hides all", typeFor[struct{ Mu sync.Mutex }](), []string{".Mu: sync.Mutex has no exported fields"}},
		{"an embedded pointer that cannot be set", typeFor[Outer](), []string{"Outer.hidden: embedded pointer to the unexported codec.hidden"}},
		{"a type that marshals, but only out", typeFor[struct{ H Half }](), []string{".H: codec.Half has only one of encoding.BinaryMarshaler and encoding.BinaryUnmarshaler"}},
		{"a protobuf message in a struct", typeFor[struct{ D *durationpb.Duration }](), []string{".D: protobuf message durationpb.Duration cannot be marshalled inside"}},
		{"a slice of itself", typeFor[Loop](), []string{"consists of itself, with no struct in between"}},
		{"a map of itself", typeFor[Tree](), []string{"consists of itself"}},
		{"a pointer to itself", typeFor[Self](), []string{"consists of itself"}},
		{"nothing", nil, []string{"nil"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			for range 2 { // the second answer is from memory
				_, err := c.For(x.t)
				wantError(t, err, x.want...)
				var e *TypeError
				if !errors.As(err, &e) {
					t.Errorf("%T is not a TypeError", err)
				}
			}
		})
	}
}

func TestS3_4_TypesHaveTheirCodec(t *testing.T) {
	c := codecs(t)
	for _, x := range []struct {
		t    reflect.Type
		want uint8
	}{
		{typeFor[[]byte](), IDRaw},
		{typeFor[*[]byte](), IDRaw},
		{typeFor[*durationpb.Duration](), IDProto},
		{typeFor[durationpb.Duration](), IDProto},
		{typeFor[int](), IDCBOR},
		{typeFor[string](), IDCBOR},
		{typeFor[List](), IDCBOR},
		{typeFor[Nodes](), IDCBOR},
		{typeFor[Away](), IDCBOR},
		{typeFor[Gone](), IDCBOR},
		{typeFor[Inner](), IDCBOR},
		{typeFor[Quiet](), IDCBOR},
		{typeFor[struct{}](), IDCBOR},
		{typeFor[[]any](), IDCBOR},
		{typeFor[map[any]any](), IDCBOR},
		{typeFor[map[[16]byte]bool](), IDCBOR},
		{typeFor[map[bool]netip.Addr](), IDCBOR},
		{typeFor[[]Shape](), IDCBOR},
		{typeFor[time.Time](), IDCBOR},
		{typeFor[*big.Int](), IDCBOR},
		{typeFor[BlobRef](), IDCBOR},
	} {
		k, err := c.For(x.t)
		if err != nil || k.ID() != x.want {
			t.Errorf("%v: %v, %v, want codec %d", x.t, k, err, x.want)
		}
	}
}

func TestCodecsByNumber(t *testing.T) {
	c := codecs(t)
	names := ""
	for id := range ids {
		k, err := c.ByID(id)
		if err != nil || k.ID() != id || c.Mask()>>id&1 != 1 {
			t.Errorf("codec %d: %v, %v", id, k, err)
		}
		names += k.Name() + " "
	}
	if names != "raw proto cbor " || c.Mask() != 7 {
		t.Errorf("names %q, mask %b", names, c.Mask())
	}
	_, err := c.ByID(3)
	wantError(t, err, "codec 3 is not known")
}

func TestConcreteTypesMustFit(t *testing.T) {
	for _, x := range []struct {
		name string
		list []Concrete
		want string
	}{
		{"no pointer", []Concrete{{40001, Square{}}}, "codec.Square with tag 40001 is not a pointer to a struct"},
		{"nothing", []Concrete{{40001, nil}}, "is not a pointer to a struct"},
		{"one tag for two", []Concrete{{40001, (*Square)(nil)}, {40001, (*Group)(nil)}}, "concrete type *codec.Group with tag 40001"},
		{"the tag of blobs", []Concrete{{TagBlob, (*Square)(nil)}}, "tag 1380991810"},
		{"a channel inside", []Concrete{{40001, (*Job)(nil)}}, "Job.Done"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := New(Options{Concrete: x.list})
			wantError(t, err, x.want)
		})
	}
}

func loopList() *List { l := &List{}; l.Next = &List{l}; return l }

func chain(n int) (l *List) {
	for range n {
		l = &List{l}
	}
	return l
}

// A value that contains itself is an error that says where, and no overflow of
// the stack.
func TestS3_3_CyclesAreAnError(t *testing.T) {
	self := map[string]any{}
	self["a"] = []any{1, self}
	slice := []any{nil}
	slice[0] = slice
	var pointer any
	pointer = &pointer
	group := &Group{}
	group.Parts = []Shape{&Square{1}, group}
	nodes := Nodes{Kids: make([]Nodes, 2)}
	nodes.Kids[1] = nodes
	for _, x := range []struct {
		name string
		v    any
		why  error
		want string
	}{
		{"a list", loopList(), ErrCycle, "List.Next.Next contains itself"},
		{"a map in a slice in the map", self, ErrCycle, "[a][1] contains itself"},
		{"a slice", slice, ErrCycle, "[0] contains itself"},
		{"a pointer to an interface", pointer, ErrCycle, "contains itself"},
		{"behind an interface with methods", group, ErrCycle, "Group.Parts[1] contains itself"},
		{"a slice of structs", nodes, ErrCycle, "contains itself"},
		{"a long list", chain(MaxNesting + 2), ErrNesting, "nested deeper than 256"},
	} {
		t.Run(x.name, func(t *testing.T) {
			out, err := codecs(t).CBOR().Append([]byte("x"), x.v)
			if !errors.Is(err, x.why) || string(out) != "x" {
				t.Fatalf("%q, %v, want %v", out, err, x.why)
			}
			wantError(t, err, x.want)
		})
	}
}

// What an encoder lets through, the decoder lets in: to the last level.
func TestS3_3_TheDeepestValueComesBack(t *testing.T) {
	c := codecs(t).CBOR()
	n := 0
	for l := there(t, c, chain(MaxNesting)); l != nil; l = l.Next {
		n++
	}
	if n != MaxNesting {
		t.Errorf("a list of %d came back with %d", MaxNesting, n)
	}
	var s Shape = &Square{2}
	for range MaxNesting/3 - 1 {
		s = &Group{Parts: []Shape{s}}
	}
	if got := there(t, c, []Shape{s}); got[0].Area() != 4 {
		t.Errorf("area %v", got[0].Area())
	}
}

// The same value twice is no cycle.
func TestS3_3_SharedValuesAreNoCycle(t *testing.T) {
	l, q := chain(3), &Square{1}
	got := there[any](t, codecs(t).CBOR(), []any{l, l, q, []any{l, q}})
	if s := fmt.Sprint(got); strings.Count(s, "Next") != 9 {
		t.Errorf("%v", s)
	}
}

// What an any holds is looked at when it is sent.
func TestS3_4_WhatAnAnyHoldsIsRefusedToo(t *testing.T) {
	for _, x := range []struct {
		name string
		v    any
		want string
	}{
		{"a channel", []any{1, make(chan int)}, "chan int cannot be marshalled"},
		{"a job", map[string]any{"a": Job{}}, "[a] type Job: field Job.Done"},
		{"a pointer to itself", []any{new(Self)}, "consists of itself"},
		{"a protobuf message", []any{durationpb.New(1)}, "protobuf message"},
		{"a pointer as key", map[any]int{new(int): 1}, "of a type that cannot be one"},
		{"nil as key", map[any]any{nil: 1}, "of a type that cannot be one"},
		{"a type that is not registered", []Shape{stranger{}}, "holds a codec.stranger, which is not a registered concrete type"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := codecs(t).CBOR().Append(nil, x.v)
			wantError(t, err, x.want)
		})
	}
}

type stranger struct{}

func (stranger) Area() float64 { return 0 }

func TestRawAndProto(t *testing.T) {
	if got := there(t, Codec(Raw{}), []byte("abc")); string(got) != "abc" {
		t.Errorf("%q", got)
	}
	if got := there(t, Codec(Raw{}), "abc"); got != "abc" {
		t.Errorf("%q", got)
	}
	b, s := []byte("p"), "q"
	got, err := Raw{}.Append(nil, &b)
	got, err2 := Raw{}.Append(got, &s)
	if err = errors.Join(err, err2); err != nil || string(got) != "pq" {
		t.Errorf("%q, %v", got, err)
	}
	d := durationpb.New(90 * time.Second)
	wire, err := Proto{}.Append([]byte("x"), d)
	back := durationpb.New(7)
	if err := errors.Join(err, Proto{}.Decode(wire[1:], back)); err != nil || !proto.Equal(d, back) {
		t.Errorf("%v became %v: %v", d, back, err)
	}
}

func TestRawAndProtoSayWhatTheyCannot(t *testing.T) {
	appendOf := func(c Codec, v any) error { _, err := c.Append(nil, v); return err }
	for _, x := range []struct {
		err  error
		want string
	}{
		{appendOf(Raw{}, 1), "raw codec: int is neither bytes nor a string"},
		{appendOf(Raw{}, (*[]byte)(nil)), "neither bytes nor a string"},
		{appendOf(Raw{}, (*string)(nil)), "neither bytes nor a string"},
		{Raw{}.Decode(nil, []byte{}), "not a pointer to bytes"},
		{Raw{}.Decode(nil, (*[]byte)(nil)), "not a pointer to bytes"},
		{Raw{}.Decode(nil, (*string)(nil)), "not a pointer to bytes"},
		{appendOf(Proto{}, 1), "int is not a protobuf message"},
		{appendOf(Proto{}, (*durationpb.Duration)(nil)), "*durationpb.Duration is nil"},
		{Proto{}.Decode(nil, (*durationpb.Duration)(nil)), "is nil"},
		{Proto{}.Decode([]byte{0xff}, &durationpb.Duration{}), "decode *durationpb.Duration"},
	} {
		wantError(t, x.err, x.want)
	}
}

// Codecs are shared, and learn about types while they are used.
func TestManyAtOnce(t *testing.T) {
	c := codecs(t)
	v := &everything{Text: "a", Part: &Group{Parts: []Shape{&Square{2}}}, Any: []any{map[any]any{"k": int64(1)}}}
	want, err := codecs(t).CBOR().Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 50 {
				var back everything
				got, err := c.CBOR().Append(nil, v)
				if err := errors.Join(err, c.CBOR().Decode(got, &back)); err != nil || string(got) != string(want) {
					t.Errorf("% x, %v", got, err)
				}
				if _, err := c.For(typeFor[Plan]()); err == nil {
					t.Error("a function was accepted")
				}
			}
		})
	}
	wait.Wait()
}

// Rude panics where it should return an error.
type Rude struct{}

func (Rude) MarshalCBOR() ([]byte, error) { return []byte{0}, nil }
func (*Rude) UnmarshalCBOR([]byte) error  { panic("too rude") }

func TestS2_27_APanicOfATypeIsAnError(t *testing.T) {
	wantError(t, codecs(t).CBOR().Decode([]byte{0}, new(Rude)), "decode *codec.Rude: too rude")
}
