package tvm

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var allFlavours = []Flavour{FlavourA, FlavourB, FlavourC}

// drawValue draws a value of any kind, as a decoder of flavour f returns it.
func drawValue(f Flavour) *rapid.Generator[Value] {
	return rapid.Custom(func(t *rapid.T) Value {
		kind := Kind(rapid.Uint8Range(0, uint8(KindObject)).Draw(t, "kind"))
		v := Value{Kind: kind}
		switch kind {
		case KindInt:
			v.Int = rapid.Int64().Draw(t, "int")
		case KindBool:
			v = Bool(rapid.Bool().Draw(t, "bool"))
			if f == FlavourA {
				v.Kind = KindInt // A has no bool that every release takes
			}
		case KindFloat:
			v.Float = rapid.Float64().Draw(t, "float")
		case KindHandle, KindModule, KindFunc:
			v.Handle = rapid.Uint64().Draw(t, "handle")
		case KindObject:
			v.Handle = rapid.Uint64().Draw(t, "handle")
			if f != FlavourA {
				v.TypeIndex = rapid.Int32Min(firstObject).Filter(func(i int32) bool { return isObjectIndex(f, i) }).Draw(t, "type index")
			}
		case KindDataType:
			v.DType = drawDType().Draw(t, "type")
		case KindDevice:
			v.Device = drawDevice().Draw(t, "device")
		case KindTensor:
			tensor := drawTensor().Draw(t, "tensor")
			v.Tensor = &tensor
		case KindStr, KindBytes:
			v.Data = rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "data")
		case KindNull:
		}
		return v
	})
}

func drawDType() *rapid.Generator[DataType] {
	return rapid.Custom(func(t *rapid.T) DataType {
		return DataType{rapid.Uint8().Draw(t, "code"), rapid.Uint8().Draw(t, "bits"), rapid.Uint16().Draw(t, "lanes")}
	})
}

func drawDevice() *rapid.Generator[Device] {
	return rapid.Custom(func(t *rapid.T) Device {
		return Device{rapid.Int32().Draw(t, "type"), rapid.Int32().Draw(t, "id")}
	})
}

func drawTensor() *rapid.Generator[Tensor] {
	return rapid.Custom(func(t *rapid.T) Tensor {
		tensor := Tensor{
			Handle: rapid.Uint64().Draw(t, "handle"), Device: drawDevice().Draw(t, "device"),
			DType: drawDType().Draw(t, "type"), ByteOffset: rapid.Uint64().Draw(t, "offset"),
		}
		if shape := rapid.SliceOfN(rapid.Int64(), 0, 6).Draw(t, "shape"); len(shape) > 0 {
			tensor.Shape = shape
		}
		return tensor
	})
}

// TestSeqRoundTrip: what is written is read back, and what follows is left.
func TestSeqRoundTrip(t *testing.T) {
	for _, f := range allFlavours {
		t.Run(f.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := rapid.SliceOfN(drawValue(f), 0, 8).Draw(t, "values")
				tail := rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "tail")
				wire, err := AppendSeq(nil, f, want)
				if err != nil {
					t.Fatal(err)
				}
				got, rest, err := DecodeSeq(f, append(wire, tail...))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(rest, tail) {
					t.Fatalf("left over: % x, want % x", rest, tail)
				}
				if len(want) == 0 {
					want = nil
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("values differ (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestSeqTruncated: no prefix of a sequence is taken for a whole one.
func TestSeqTruncated(t *testing.T) {
	for _, f := range allFlavours {
		t.Run(f.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				wire, err := AppendSeq(nil, f, rapid.SliceOfN(drawValue(f), 1, 4).Draw(t, "values"))
				if err != nil {
					t.Fatal(err)
				}
				cut := rapid.IntRange(0, len(wire)-1).Draw(t, "cut")
				if _, _, err := DecodeSeq(f, wire[:cut]); !errors.Is(err, ErrTruncated) {
					t.Fatalf("%d of %d bytes: %v", cut, len(wire), err)
				}
			})
		})
	}
}

// Each value is given in the bytes after the number of values, which is 1.
func TestValuesByFlavour(t *testing.T) {
	tensor := TensorOf(Tensor{Handle: 0xab, Device: Device{2, 1}, DType: DataType{DTypeFloat, 32, 1}, Shape: []int64{2, 3}, ByteOffset: 4})
	const tensorWire = "ab 00 00 00 00 00 00 00 02 00 00 00 01 00 00 00 02 00 00 00 02 20 01 00 " +
		"02 00 00 00 00 00 00 00 03 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00"
	a, b, c, bc := FlavourA, FlavourB, FlavourC, []Flavour{FlavourB, FlavourC}
	cases := []struct {
		name       string
		flavours   []Flavour
		wire       string
		want       Value
		decodeOnly bool
	}{
		{"null", []Flavour{a}, "04 00 00 00", Null(), false},
		{"null", bc, "00 00 00 00", Null(), false},
		{"int", []Flavour{a}, "00 00 00 00 ff ff ff ff ff ff ff ff", Int(-1), false},
		{"unsigned int", []Flavour{a}, "01 00 00 00 ff ff ff ff ff ff ff ff", Int(-1), true},
		{"int", bc, "01 00 00 00 ff ff ff ff ff ff ff ff", Int(-1), false},
		{"bool of v0.18", []Flavour{a}, "0f 00 00 00 01 00 00 00 00 00 00 00", Bool(true), true},
		{"bool", bc, "02 00 00 00 01 00 00 00 00 00 00 00", Bool(true), false},
		{"float", []Flavour{a}, "02 00 00 00 00 00 00 00 00 00 f8 3f", Float(1.5), false},
		{"float", bc, "03 00 00 00 00 00 00 00 00 00 f8 3f", Float(1.5), false},
		{"handle", []Flavour{a}, "03 00 00 00 22 11 00 00 00 00 00 00", Handle(0x1122), false},
		{"handle", bc, "04 00 00 00 22 11 00 00 00 00 00 00", Handle(0x1122), false},
		{"data type", allFlavours, "05 00 00 00 02 10 04 00 00 00 00 00", DTypeOf(DataType{DTypeFloat, 16, 4}), false},
		{"device", allFlavours, "06 00 00 00 02 00 00 00 01 00 00 00", DeviceOf(Device{2, 1}), false},
		{"tensor", allFlavours, "07 00 00 00 " + tensorWire, tensor, false},
		{"str", []Flavour{a}, "0b 00 00 00 02 00 00 00 00 00 00 00 68 69", Str("hi"), false},
		{"str", bc, "08 00 00 00 02 00 00 00 00 00 00 00 68 69", Str("hi"), false},
		{"str as an object", []Flavour{c}, "41 00 00 00 41 00 00 00 02 00 00 00 00 00 00 00 68 69", Str("hi"), true},
		{"small str", []Flavour{c}, "0b 00 00 00 41 00 00 00 02 00 00 00 00 00 00 00 68 69", Str("hi"), true},
		{"bytes", []Flavour{a}, "0c 00 00 00 02 00 00 00 00 00 00 00 68 69", Bytes([]byte("hi")), false},
		{"bytes", bc, "09 00 00 00 02 00 00 00 00 00 00 00 68 69", Bytes([]byte("hi")), false},
		{"bytes as an object", []Flavour{c}, "42 00 00 00 42 00 00 00 02 00 00 00 00 00 00 00 68 69", Bytes([]byte("hi")), true},
		{"small bytes", []Flavour{c}, "0c 00 00 00 42 00 00 00 02 00 00 00 00 00 00 00 68 69", Bytes([]byte("hi")), true},
		{"module", []Flavour{a}, "09 00 00 00 01 00 00 00 00 00 00 00", Module(1), false},
		{"module", bc, "49 00 00 00 01 00 00 00 00 00 00 00", Module(1), false},
		{"func", []Flavour{a}, "0a 00 00 00 01 00 00 00 00 00 00 00", Func(1), false},
		{"func", bc, "44 00 00 00 01 00 00 00 00 00 00 00", Func(1), false},
		{"object", []Flavour{a}, "08 00 00 00 09 00 00 00 01 00 00 00 00 00 00 00", Object(0, 1), false},
		{"object", bc, "73 00 00 00 73 00 00 00 01 00 00 00 00 00 00 00", Object(115, 1), false},
		{"array at the server", []Flavour{b}, "45 00 00 00 73 00 00 00 01 00 00 00 00 00 00 00", Object(69, 1), false},
		{"array at the server", []Flavour{c}, "47 00 00 00 73 00 00 00 01 00 00 00 00 00 00 00", Object(71, 1), false},
		{"small str that is a reference", []Flavour{c}, "0b 00 00 00 73 00 00 00 01 00 00 00 00 00 00 00", Object(0, 1), true},
	}
	for _, c := range cases {
		for _, f := range c.flavours {
			t.Run(c.name+"/"+f.String(), func(t *testing.T) {
				wire := append([]byte{1, 0, 0, 0}, unhex(t, c.wire)...)
				if !c.decodeOnly {
					got, err := AppendSeq(nil, f, []Value{c.want})
					if err != nil {
						t.Fatal(err)
					}
					wantBytes(t, got, wire)
				}
				got, rest, err := DecodeSeq(f, wire)
				if err != nil || len(rest) != 0 {
					t.Fatalf("%v, left over: % x", err, rest)
				}
				if diff := cmp.Diff([]Value{c.want}, got); diff != "" {
					t.Errorf("value differs (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestBoolInFlavourAIsAnInt(t *testing.T) {
	got, err := AppendSeq(nil, FlavourA, []Value{Bool(true), Bool(false)})
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, unhex(t, "02 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"))
}

func TestObjectIndexThatMeansSomethingElse(t *testing.T) {
	// An object of such an index would be read as a function, a module or a
	// tensor, or not at all: it is sent as a plain reference.
	for _, f := range []Flavour{FlavourB, FlavourC} {
		tensor, _ := f.TensorObjectCode()
		for _, index := range []int32{0, -1, 11, 63, indexFunc, indexModule, tensor} {
			wire, err := AppendSeq(nil, f, []Value{Object(index, 1)})
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := DecodeSeq(f, wire)
			if err != nil || got[0].Kind != KindObject || got[0].TypeIndex != indexObjectRef {
				t.Errorf("flavour %s, index %d: got %+v, %v", f, index, got, err)
			}
		}
	}
}

func TestRefusedValues(t *testing.T) {
	const value = " 01 00 00 00 00 00 00 00"
	cases := []struct {
		name     string
		flavours []Flavour
		wire     string
	}{
		{"tensor object", []Flavour{FlavourA}, "0d 00 00 00" + value},
		{"tensor object", []Flavour{FlavourB}, "48 00 00 00" + value + value},
		{"tensor object", []Flavour{FlavourC}, "46 00 00 00" + value + value},
		{"unassigned code", []Flavour{FlavourA}, "0e 00 00 00" + value},
		{"code of another flavour", []Flavour{FlavourA}, "49 00 00 00" + value},
		{"r-value reference", []Flavour{FlavourB, FlavourC}, "0a 00 00 00" + value},
		{"small str", []Flavour{FlavourB}, "0b 00 00 00 41 00 00 00" + value + value},
		{"small bytes", []Flavour{FlavourB}, "0c 00 00 00 42 00 00 00" + value + value},
		{"str object", []Flavour{FlavourB}, "41 00 00 00 41 00 00 00" + value + value},
		{"index between values and objects", []Flavour{FlavourB, FlavourC}, "3f 00 00 00 73 00 00 00" + value},
		{"negative code", allFlavours, "ff ff ff ff" + value},
		{"object that is no reference", []Flavour{FlavourA}, "08 00 00 00 0a 00 00 00" + value},
		{"object that is no reference", []Flavour{FlavourB, FlavourC}, "73 00 00 00 47 00 00 00" + value},
	}
	for _, c := range cases {
		for _, f := range c.flavours {
			t.Run(c.name+"/"+f.String(), func(t *testing.T) {
				_, _, err := DecodeSeq(f, append([]byte{1, 0, 0, 0}, unhex(t, c.wire)...))
				wantErr(t, err, ErrTypeCode)
			})
		}
	}
}

func TestSeqThatCannotBeSent(t *testing.T) {
	for _, c := range []struct {
		name   string
		f      Flavour
		values []Value
		want   error
	}{
		{"unknown kind", FlavourC, []Value{Int(1), {Kind: KindObject + 1}}, ErrTypeCode},
		{"no tensor", FlavourA, []Value{{Kind: KindTensor}}, ErrTensor},
		{"too many dimensions", FlavourA, []Value{TensorOf(Tensor{Shape: make([]int64, maxDims+1)})}, ErrTensor},
		{"too many values", FlavourC, make([]Value, MaxSeq+1), ErrPacket},
		{"no flavour", FlavourAuto, []Value{Null()}, ErrFlavour},
		{"flavour out of range", FlavourC + 1, []Value{Null()}, ErrFlavour},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := AppendSeq([]byte("before"), c.f, c.values)
			wantErr(t, err, c.want)
			if string(got) != "before" {
				t.Errorf("dst became %q", got)
			}
		})
	}
	if _, _, err := DecodeSeq(FlavourAuto, []byte{1, 0, 0, 0, 0, 0, 0, 0}); !errors.Is(err, ErrFlavour) {
		t.Errorf("decode without a flavour: %v", err)
	}
}

// TestHostileCounts: a count or length that promises more than there is must
// cost nothing. Each case is 8 to 60 bytes long.
func TestHostileCounts(t *testing.T) {
	one := "01 00 00 00 "
	tensorHead := "00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 "
	cases := []struct {
		name     string
		flavours []Flavour
		wire     string
		want     error
	}{
		{"2^31-1 values", allFlavours, "ff ff ff 7f 00 00 00 00", ErrPacket},
		{"-1 values", allFlavours, "ff ff ff ff 00 00 00 00", ErrPacket},
		{"-2^31 values", allFlavours, "00 00 00 80 00 00 00 00", ErrPacket},
		{"as many values as allowed", allFlavours, "00 00 01 00 00 00 00 00", ErrTruncated},
		{"one value more than bytes", allFlavours, "02 00 00 00 00 00 00 00", ErrTruncated},
		{"nothing at all", allFlavours, "", ErrTruncated},
		{"str of 2^64-1 bytes", []Flavour{FlavourA}, one + "0b 00 00 00 ff ff ff ff ff ff ff ff 61", ErrTruncated},
		{"str of 2^63 bytes", []Flavour{FlavourA}, one + "0b 00 00 00 00 00 00 00 00 00 00 80 61", ErrTruncated},
		{"str of 2^63 bytes", []Flavour{FlavourB, FlavourC}, one + "08 00 00 00 00 00 00 00 00 00 00 80 61", ErrTruncated},
		{"bytes of 2^64-1 bytes", []Flavour{FlavourB, FlavourC}, one + "09 00 00 00 ff ff ff ff ff ff ff ff 61", ErrTruncated},
		{"object of 2^63 bytes", []Flavour{FlavourC}, one + "41 00 00 00 41 00 00 00 00 00 00 00 00 00 00 80 61", ErrTruncated},
		{"2^31-1 dimensions", allFlavours, one + "07 00 00 00 " + tensorHead + "ff ff ff 7f 02 20 01 00", ErrPacket},
		{"-1 dimensions", allFlavours, one + "07 00 00 00 " + tensorHead + "ff ff ff ff 02 20 01 00", ErrPacket},
		{"as many dimensions as allowed", allFlavours, one + "07 00 00 00 " + tensorHead + "00 00 01 00 02 20 01 00", ErrTruncated},
	}
	for _, c := range cases {
		for _, f := range c.flavours {
			t.Run(c.name+"/"+f.String(), func(t *testing.T) {
				wire := unhex(t, c.wire)
				var err error
				if got := allocated(func() { _, _, err = DecodeSeq(f, wire) }); got > 1<<16 {
					t.Errorf("%d bytes made it allocate %d", len(wire), got)
				}
				wantErr(t, err, c.want)
			})
		}
	}
}

// TestSeqMemory holds the decoder to memory in proportion to the packet even
// where the counts are honest.
func TestSeqMemory(t *testing.T) {
	nulls := make([]Value, MaxSeq)
	scalars := make([]Value, 10_000)
	for i := range scalars {
		scalars[i] = TensorOf(Tensor{})
	}
	for name, vs := range map[string][]Value{"nulls": nulls, "tensors": scalars} {
		for _, f := range allFlavours {
			t.Run(fmt.Sprintf("%s/%s", name, f), func(t *testing.T) {
				wire, err := AppendSeq(nil, f, vs)
				if err != nil {
					t.Fatal(err)
				}
				got := allocated(func() { _, _, err = DecodeSeq(f, wire) })
				if err != nil {
					t.Fatal(err)
				}
				if got > 32*uint64(len(wire)) {
					t.Errorf("%d bytes made it allocate %d", len(wire), got)
				}
			})
		}
	}
}

func TestDecodedDataCannotGrowIntoWhatFollows(t *testing.T) {
	wire, err := AppendSeq(nil, FlavourC, []Value{Str("hi"), Int(1)})
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(wire)
	vs, _, err := DecodeSeq(FlavourC, wire)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(vs[0].Data, "overwritten"...)
	wantBytes(t, wire, before)
}

func TestTensorBytes(t *testing.T) {
	f32 := DataType{DTypeFloat, 32, 1}
	cases := []struct {
		name  string
		dtype DataType
		shape []int64
		want  uint64
		bad   bool
	}{
		{"scalar", f32, nil, 4, false},
		{"matrix", f32, []int64{2, 3}, 24, false},
		{"empty", f32, []int64{2, 0, math.MaxInt64, math.MaxInt64}, 0, false},
		{"vectors", DataType{DTypeFloat, 16, 4}, []int64{3}, 24, false},
		{"bits are rounded up to bytes", DataType{DTypeUInt, 1, 1}, []int64{9}, 9, false},
		{"type of no size", DataType{}, []int64{math.MaxInt64, math.MaxInt64}, 0, false},
		{"largest", DataType{DTypeInt, 8, 1}, []int64{math.MaxInt64}, math.MaxInt64, false},
		{"2^63 bytes", DataType{DTypeInt, 8, 1}, []int64{1 << 62, 2}, 0, true},
		{"2^64 bytes", f32, []int64{1 << 62}, 0, true},
		{"product wraps around to a small number", f32, []int64{1 << 32, 1 << 32}, 0, true},
		{"negative dimension", f32, []int64{-1}, 0, true},
		{"negative dimension of an empty array", f32, []int64{0, -1}, 0, true},
		{"two negative dimensions", f32, []int64{-2, -3}, 0, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Tensor{DType: c.dtype, Shape: c.shape}.NBytes()
			if got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
			if c.bad {
				wantErr(t, err, ErrTensor)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
