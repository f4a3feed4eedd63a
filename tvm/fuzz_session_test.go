package tvm

import (
	"bytes"
	"errors"
	"testing"
)

// sessionErrors are all errors that decoders of the session layer may give.
var sessionErrors = []error{ErrTruncated, ErrTrailing, ErrRPCCode, ErrTypeCode, ErrPacket, ErrFlavour}

func checkSessionError(t *testing.T, err error) {
	t.Helper()
	for _, want := range sessionErrors {
		if errors.Is(err, want) {
			return
		}
	}
	t.Fatalf("unexpected error %v", err)
}

func FuzzDecodeSeqA(f *testing.F) { fuzzSeq(f, FlavourA) }

func FuzzDecodeSeqB(f *testing.F) { fuzzSeq(f, FlavourB) }

func FuzzDecodeSeqC(f *testing.F) { fuzzSeq(f, FlavourC) }

func fuzzSeq(f *testing.F, flavour Flavour) {
	for _, vs := range [][]Value{nil, {Null()}, everyValue()} {
		wire, err := AppendSeq(nil, flavour, vs)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		vs, rest, err := DecodeSeq(flavour, b)
		if err != nil {
			checkSessionError(t, err)
			return
		}
		checkBounded(t, vs, len(b)-len(rest))
		wire, err := AppendSeq(nil, flavour, vs)
		if err != nil {
			t.Fatalf("decoded from % x, but: %v", b, err)
		}
		again, rest, err := DecodeSeq(flavour, wire)
		if err != nil || len(rest) != 0 {
			t.Fatalf("% x, written as % x: %v", b, wire, err)
		}
		second, err := AppendSeq(nil, flavour, again)
		if err != nil || !bytes.Equal(second, wire) {
			t.Fatalf("% x, then % x, %v", wire, second, err)
		}
	})
}

// checkBounded checks that values take no more than the n bytes that they were
// decoded from can hold.
func checkBounded(t *testing.T, vs []Value, n int) {
	t.Helper()
	size := cap(vs) * minValue
	for i := range vs {
		size += cap(vs[i].Data)
		if vs[i].Tensor != nil {
			size += 8 * cap(vs[i].Tensor.Shape)
		}
	}
	if size > n {
		t.Fatalf("%d bytes gave %d values of %d bytes", n, len(vs), size)
	}
}

// everyValue has a value of each kind.
func everyValue() []Value {
	return []Value{
		Null(), Int(-7), Bool(true), Float(1.5), Handle(0x1122), DTypeOf(DataType{DTypeFloat, 32, 1}), DeviceOf(Device{DeviceCPU, 0}),
		TensorOf(Tensor{Handle: 1, Device: Device{DeviceCPU, 0}, DType: DataType{DTypeInt, 8, 1}, Shape: []int64{2, 3}}),
		Str("str"), Bytes([]byte{0, 1}), Module(2), Func(3), Object(indexObjectRef, 4),
	}
}

func FuzzDecodePacketA(f *testing.F) { fuzzPacket(f, FlavourA) }

func FuzzDecodePacketB(f *testing.F) { fuzzPacket(f, FlavourB) }

func FuzzDecodePacketC(f *testing.F) { fuzzPacket(f, FlavourC) }

func fuzzPacket(f *testing.F, flavour Flavour) {
	for _, c := range goldenPackets {
		f.Add(unhex(f, c.wire)[PacketHeader:])
	}
	for _, p := range []Packet{
		CallFunc{Handle: 1, Args: everyValue()}, CopyAck{Data: []byte("abc")}, CopyFromRemote{NBytes: 3},
		CopyToRemote{Tensor: Tensor{Shape: []int64{3}, DType: DataType{DTypeInt, 8, 1}}, Data: []byte("abc")},
		Syscall{Code: RPCDevAllocData, Args: []Value{DeviceOf(Device{DeviceCPU, 0}), Int(64), Int(64), DTypeOf(DataType{DTypeFloat, 32, 1})}},
	} {
		wire, err := AppendPacket(nil, flavour, p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire[PacketHeader:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := DecodePacket(flavour, body)
		if err != nil {
			checkSessionError(t, err)
			return
		}
		wire, err := AppendPacket(nil, flavour, p)
		if err != nil {
			t.Fatalf("decoded from % x, but: %v", body, err)
		}
		n, err := PacketLen([8]byte(wire), len(wire))
		if err != nil || n != len(wire)-PacketHeader {
			t.Fatalf("length is %d of %d, %v", n, len(wire), err)
		}
		again, err := DecodePacket(flavour, wire[PacketHeader:])
		if err != nil || again.RPCCode() != p.RPCCode() {
			t.Fatalf("% x, written as % x: %v", body, wire, err)
		}
		second, err := AppendPacket(nil, flavour, again)
		if err != nil || !bytes.Equal(second, wire) {
			t.Fatalf("% x, then % x, %v", wire, second, err)
		}
	})
}

func FuzzPacketLen(f *testing.F) {
	f.Add(appendU64(nil, 0), 100)
	f.Add(appendU64(nil, 1<<63), 1<<30)
	f.Add(appendU64(nil, 5), -1)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		if len(b) < PacketHeader {
			return
		}
		n, err := PacketLen([8]byte(b), limit)
		if err != nil {
			if n != 0 || !errors.Is(err, ErrPacketLength) {
				t.Fatalf("%d, %v", n, err)
			}
			return
		}
		if n < 0 || n > limit || !bytes.Equal(appendU64(nil, uint64(n)), b[:PacketHeader]) {
			t.Fatalf("% x: %d, at most %d", b[:PacketHeader], n, limit)
		}
	})
}

func FuzzFlavourOfInitReply(f *testing.F) {
	for _, c := range goldenPackets {
		f.Add(unhex(f, c.wire))
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		flavour, err := FlavourOfInitReply(packet)
		if err != nil {
			if flavour != FlavourAuto {
				t.Fatalf("%s, %v", flavour, err)
			}
			if !errors.Is(err, ErrInitRefused) {
				checkSessionError(t, err)
			}
			return
		}
		want, err := AppendPacket(nil, flavour, Return{Values: []Value{Null()}})
		if err != nil || !bytes.Equal(want, packet) {
			t.Fatalf("% x is taken for a null of flavour %s", packet, flavour)
		}
	})
}

func FuzzFlavourOfFirstCall(f *testing.F) {
	for _, c := range goldenPackets {
		f.Add(unhex(f, c.wire)[PacketHeader:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		flavour, ok := FlavourOfFirstCall(body)
		if !ok {
			if flavour != FlavourAuto {
				t.Fatalf("not ok, but %s", flavour)
			}
			return
		}
		other := FlavourA
		if flavour == FlavourA {
			other = FlavourC
		}
		if p, err := DecodePacket(other, body); err == nil {
			if s, isCall := p.(Syscall); isCall && len(s.Args) == 1 && s.Args[0].Kind == KindStr {
				t.Fatalf("% x is a call in both flavours", body)
			}
		}
		if p, err := DecodePacket(flavour, body); err != nil || p.RPCCode() != RPCGetGlobalFunc {
			t.Fatalf("% x: %v", body, err)
		}
	})
}

func FuzzParseDataType(f *testing.F) {
	for _, s := range []string{"float32", "int8x4", "bool", "handle", "custom[10]8x2", "float32x", "uint-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDataType(s)
		if err != nil {
			if !errors.Is(err, ErrDataType) {
				t.Fatal(err)
			}
			return
		}
		if again, err := ParseDataType(d.String()); err != nil || again != d {
			t.Fatalf("%q is %+v, then %+v, %v", s, d, again, err)
		}
	})
}

func FuzzParseFlavour(f *testing.F) {
	for _, s := range []string{"Auto", "a", "B", "0.8.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		flavour, err := ParseFlavour(s)
		if err != nil {
			if !errors.Is(err, ErrFlavour) {
				t.Fatal(err)
			}
			return
		}
		if again, err := ParseFlavour(flavour.String()); err != nil || again != flavour {
			t.Fatalf("%q is %s, then %s, %v", s, flavour, again, err)
		}
	})
}

func FuzzTensorBytes(f *testing.F) {
	f.Add(uint8(32), uint16(1), int64(2), int64(3), int64(4))
	f.Add(uint8(255), uint16(65535), int64(1)<<62, int64(2), int64(0))
	f.Add(uint8(8), uint16(1), int64(-1), int64(1), int64(1))
	f.Fuzz(func(t *testing.T, bits uint8, lanes uint16, x, y, z int64) {
		tensor := Tensor{DType: DataType{DTypeInt, bits, lanes}, Shape: []int64{x, y, z}}
		n, err := tensor.NBytes()
		if err != nil {
			if n != 0 || !errors.Is(err, ErrTensor) {
				t.Fatalf("%d, %v", n, err)
			}
			return
		}
		if n>>63 != 0 || x < 0 || y < 0 || z < 0 {
			t.Fatalf("%+v has %d bytes", tensor, n)
		}
		if size := uint64(tensor.DType.Size()); n != 0 && (n/size/uint64(x)/uint64(y) != uint64(z)) {
			t.Fatalf("%+v has %d bytes", tensor, n)
		}
	})
}
