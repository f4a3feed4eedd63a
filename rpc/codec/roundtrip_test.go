package codec

import (
	"bytes"
	"math"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// everything has a field of each sort that can be marshalled.
type everything struct {
	Bool    bool
	Ints    [3]int64
	Small   int8
	Uint    uint64
	F32     float32
	F64     float64
	Text    string `json:"text"`
	Bytes   []byte
	ID      [16]byte
	List    []string
	Deep    [][]int
	Map     map[string]*everything
	ByInt   map[int32][]byte
	ByID    map[[2]byte]bool
	Ptr     *everything
	PtrPtr  **int
	Any     any
	Time    time.Time
	Elapsed time.Duration
	Big     *big.Int
	Addr    netip.Addr
	Part    Shape
	Base
}

// Base is embedded.
type Base struct{ Inherited string }

func anything() *rapid.Generator[any] {
	scalar := rapid.OneOf(
		rapid.Just(any(nil)), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Float64().AsAny(), rapid.String().AsAny(),
		rapid.SliceOf(rapid.Byte()).AsAny(),
		rapid.Map(bigs().Filter(func(b *big.Int) bool { return !b.IsInt64() }), func(b *big.Int) any { return *b }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) any { return BlobRef(b) }),
	)
	list := rapid.Map(rapid.SliceOfN(scalar, 0, 4), func(l []any) any { return l })
	return rapid.OneOf(scalar, list, rapid.Map(rapid.MapOfN(rapid.String(), scalar, 0, 4), func(m map[string]any) any {
		out := map[any]any{int64(1): list.Example(1)}
		for k, v := range m {
			out[k] = v
		}
		return out
	}))
}

func bigs() *rapid.Generator[*big.Int] {
	return rapid.Custom(func(t *rapid.T) *big.Int {
		b := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "magnitude"))
		if rapid.Bool().Draw(t, "negative") {
			b.Neg(b)
		}
		return b
	})
}

func times() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		sec := rapid.Int64Range(-62_135_500_000, 253_402_200_000).Draw(t, "sec")
		zone := time.FixedZone("", 60*rapid.IntRange(-12*60, 14*60).Draw(t, "zone"))
		return time.Unix(sec, rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).In(zone)
	})
}

// maybe is the zero value half of the time.
func maybe[T any](g *rapid.Generator[T]) *rapid.Generator[T] {
	var zero T
	return rapid.OneOf(rapid.Just(zero), g)
}

func values(depth int) *rapid.Generator[*everything] {
	return rapid.Custom(func(t *rapid.T) *everything {
		e := &everything{
			Bool: rapid.Bool().Draw(t, "bool"), Small: rapid.Int8().Draw(t, "small"), Uint: rapid.Uint64().Draw(t, "uint"),
			F32: rapid.Float32().Draw(t, "f32"), F64: rapid.Float64().Draw(t, "f64"), Text: rapid.String().Draw(t, "text"),
			Bytes: maybe(rapid.SliceOf(rapid.Byte())).Draw(t, "bytes"), List: maybe(rapid.SliceOf(rapid.String())).Draw(t, "list"),
			Deep:  maybe(rapid.SliceOfN(maybe(rapid.SliceOf(rapid.Int())), 0, 3)).Draw(t, "deep"),
			ByInt: maybe(rapid.MapOf(rapid.Int32(), rapid.SliceOf(rapid.Byte()))).Draw(t, "byInt"),
			ByID: maybe(rapid.MapOf(rapid.Custom(func(t *rapid.T) [2]byte {
				return [2]byte{rapid.Byte().Draw(t, "0"), rapid.Byte().Draw(t, "1")}
			}), rapid.Bool())).Draw(t, "byID"),
			Any: anything().Draw(t, "any"), Time: times().Draw(t, "time"), Elapsed: time.Duration(rapid.Int64().Draw(t, "elapsed")),
			Big: maybe(bigs()).Draw(t, "big"), Addr: netip.AddrFrom4([4]byte{127, 0, 0, rapid.Byte().Draw(t, "addr")}),
			Base: Base{rapid.String().Draw(t, "inherited")},
		}
		e.ID[rapid.IntRange(0, 15).Draw(t, "at")] = rapid.Byte().Draw(t, "id")
		e.Ints[1] = rapid.Int64().Draw(t, "int64")
		if rapid.Bool().Draw(t, "part") {
			e.Part = &Group{Name: "g", Parts: []Shape{&Square{1}, nil, &Group{}}}
		}
		if n := rapid.Int().Draw(t, "n"); n%2 == 0 {
			p := &n
			e.PtrPtr = &p
		}
		if depth > 0 {
			e.Ptr = maybe(values(depth-1)).Draw(t, "ptr")
			e.Map = maybe(rapid.MapOfN(rapid.String(), maybe(values(depth-1)), 0, 2)).Draw(t, "map")
		}
		return e
	})
}

// Whatever is sent arrives, nil as nil and empty as empty; and sent again it has
// the same bytes.
func TestS3_3_WhateverIsSentArrives(t *testing.T) {
	c := codecs(t)
	k, err := c.For(typeFor[*everything]())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		v := values(2).Draw(t, "value")
		back := there(t, k, v)
		if d := cmp.Diff(v, back, cmp.Comparer(func(a, b *big.Int) bool {
			return (a == nil) == (b == nil) && (a == nil || a.Cmp(b) == 0)
		}), cmp.Comparer(func(a, b big.Int) bool { return a.Cmp(&b) == 0 }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(sameTime)); d != "" {
			t.Fatalf("value changed (- sent, + arrived):\n%s", d)
		}
		a, err := k.Append(nil, v)
		b, err2 := k.Append(nil, back)
		if err != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Fatalf("bytes changed: %v, %v\n% x\n% x", err, err2, a, b)
		}
	})
}

// sameTime also wants the same offset: the caller's wall clock is kept.
func sameTime(a, b time.Time) bool {
	_, x := a.Zone()
	_, y := b.Zone()
	return a.Equal(b) && x == y
}

// Not only integers go over the wire.
func TestS3_34_NumbersArriveExactly(t *testing.T) {
	c := Codec(codecs(t).CBOR())
	for _, n := range []int64{0, -1, 23, 24, 255, 256, -256, math.MaxInt32 + 1, math.MaxInt64, math.MinInt64} {
		if got := there(t, c, n); got != n {
			t.Errorf("%d became %d", n, got)
		}
		if got := there[any](t, c, n); got != n {
			t.Errorf("%d in an any became %v", n, got)
		}
	}
	if got := there(t, c, uint64(math.MaxUint64)); got != math.MaxUint64 {
		t.Errorf("%d", got)
	}
	if got, ok := there[any](t, c, uint64(math.MaxUint64)).(big.Int); !ok || got.String() != "18446744073709551615" {
		t.Errorf("%v", got)
	}
	for _, f := range []float64{0, math.Copysign(0, -1), 1, 0.1, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN(), 65504, 1 << 53} {
		for _, got := range []any{there(t, c, f), there[any](t, c, f)} {
			if g := got.(float64); math.Float64bits(g) != math.Float64bits(f) && !(math.IsNaN(f) && math.IsNaN(g)) {
				t.Errorf("%v became %v", f, g)
			}
		}
	}
	var small int8
	wantError(t, c.Decode([]byte{0x18, 200}, &small), "200 overflows")
	var whole int
	wantError(t, c.Decode(unhex(t, "f93e00"), &whole), "cannot unmarshal")
}

func TestS3_34_LongKeysArrive(t *testing.T) {
	c := Codec(codecs(t).CBOR())
	if got := there(t, c, map[uint64]int{math.MaxUint64: 1, 0: 2}); len(got) != 2 || got[math.MaxUint64] != 1 {
		t.Errorf("%v", got)
	}
	if got := there(t, c, map[int64]int{math.MinInt64: 1}); got[math.MinInt64] != 1 {
		t.Errorf("%v", got)
	}
}

func TestS3_3_NilArrivesAsNil(t *testing.T) {
	c := Codec(codecs(t).CBOR())
	wire, err := c.Append(nil, nil)
	if err != nil || !bytes.Equal(wire, []byte{0xf6}) {
		t.Fatalf("% x, %v", wire, err)
	}
	if there(t, c, []string(nil)) != nil || there(t, c, map[string]int(nil)) != nil || there(t, c, (*everything)(nil)) != nil || there(t, c, any(nil)) != nil || there(t, c, Shape(nil)) != nil {
		t.Error("nil became something")
	}
	if there(t, c, []string{}) == nil || there(t, c, map[string]int{}) == nil {
		t.Error("empty became nil")
	}
	if !there(t, c, time.Time{}).IsZero() {
		t.Error("the zero time became another")
	}
}
