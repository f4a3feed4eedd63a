package tvm

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawPacket draws a packet of any code, as a decoder of flavour f returns it.
func drawPacket(f Flavour) *rapid.Generator[Packet] {
	return rapid.Custom(func(t *rapid.T) Packet {
		args := rapid.SliceOfN(drawValue(f), 0, 4).Draw(t, "values")
		if len(args) == 0 {
			args = nil
		}
		data := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "data")
		switch code := RPCCode(rapid.Int32Range(1, int32(RPCDevGetCurrentStream)).Draw(t, "code")); code {
		case RPCShutdown:
			return Shutdown{}
		case RPCInitServer:
			return InitServer{Version: rapid.String().Draw(t, "version"), Args: args}
		case RPCCallFunc:
			return CallFunc{Handle: rapid.Uint64().Draw(t, "handle"), Args: args}
		case RPCReturn:
			return Return{Values: args}
		case RPCException:
			return Exception{Text: rapid.String().Draw(t, "text")}
		case RPCCopyFromRemote:
			return CopyFromRemote{Tensor: drawTensor().Draw(t, "tensor"), NBytes: rapid.Uint64().Draw(t, "number of bytes")}
		case RPCCopyToRemote:
			return CopyToRemote{Tensor: drawTensor().Draw(t, "tensor"), NBytes: uint64(len(data)), Data: data}
		case RPCCopyAck:
			return CopyAck{Data: data}
		default:
			return Syscall{Code: code, Args: args}
		}
	})
}

func TestPacketRoundTrip(t *testing.T) {
	for _, f := range allFlavours {
		t.Run(f.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := drawPacket(f).Draw(t, "packet")
				wire, err := AppendPacket(nil, f, want)
				if err != nil {
					t.Fatal(err)
				}
				n, err := PacketLen([8]byte(wire), 1<<20)
				if err != nil || n != len(wire)-PacketHeader {
					t.Fatalf("length is %d of %d, %v", n, len(wire), err)
				}
				got, err := DecodePacket(f, wire[PacketHeader:])
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("packet differs (-want +got):\n%s", diff)
				}
				if got.RPCCode() != want.RPCCode() {
					t.Fatalf("code is %s, want %s", got.RPCCode(), want.RPCCode())
				}
			})
		})
	}
}

func TestCopyPackets(t *testing.T) {
	tensor := Tensor{Handle: 0xab, Device: Device{DeviceCPU, 0}, DType: DataType{DTypeInt, 8, 1}, Shape: []int64{3}}
	const record = `ab 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 00 08 01 00
		03 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 03 00 00 00 00 00 00 00`
	cases := []struct {
		name string
		p    Packet
		wire string
	}{
		{"copy from remote", CopyFromRemote{Tensor: tensor, NBytes: 3}, "34 00 00 00 00 00 00 00 06 00 00 00 " + record},
		{"copy to remote", CopyToRemote{Tensor: tensor, NBytes: 3, Data: []byte("abc")}, "37 00 00 00 00 00 00 00 07 00 00 00 " + record + " 61 62 63"},
		{"copy ack", CopyAck{Data: []byte("abc")}, "07 00 00 00 00 00 00 00 08 00 00 00 61 62 63"},
	}
	for _, c := range cases {
		for _, f := range []Flavour{FlavourAuto, FlavourA, FlavourB, FlavourC} {
			t.Run(c.name+"/"+f.String(), func(t *testing.T) {
				wire, err := AppendPacket(nil, f, c.p)
				if err != nil {
					t.Fatal(err)
				}
				wantBytes(t, wire, unhex(t, c.wire))
				got, err := DecodePacket(f, wire[PacketHeader:])
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.p, got); diff != "" {
					t.Errorf("packet differs (-want +got):\n%s", diff)
				}
			})
		}
	}
	short, err := AppendPacket(nil, FlavourA, CopyToRemote{Tensor: tensor, Data: []byte("abc")})
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, short, unhex(t, cases[1].wire))
}

func TestBadPackets(t *testing.T) {
	record := strings.Repeat("00 ", 16) + "00 00 00 00 00 08 01 00 " + strings.Repeat("00 ", 8)
	cases := []struct {
		name string
		body string
		want error
	}{
		{"nothing", "", ErrTruncated},
		{"half a code", "01 00", ErrTruncated},
		{"kNone", "00 00 00 00", ErrRPCCode},
		{"negative code", "ff ff ff ff", ErrRPCCode},
		{"code after the last", "16 00 00 00 00 00 00 00", ErrRPCCode},
		{"shutdown with more", "01 00 00 00 00", ErrTrailing},
		{"init with a version of 2^64-1 bytes", "02 00 00 00 ff ff ff ff ff ff ff ff", ErrTruncated},
		{"init without arguments' count", "02 00 00 00 00 00 00 00 00 00 00 00", ErrTruncated},
		{"call with half a handle", "03 00 00 00 00 00", ErrTruncated},
		{"call with more", "03 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", ErrTrailing},
		{"return without a count", "04 00 00 00", ErrTruncated},
		{"exception without text", "05 00 00 00 00 00 00 00", ErrPacket},
		{"exception of a device", "05 00 00 00 01 00 00 00 06 00 00 00 00 00 00 00 00 00 00 00", ErrPacket},
		{"exception of too many", "05 00 00 00 ff ff ff 7f", ErrPacket},
		{"copy from half a tensor", "06 00 00 00 00 00", ErrTruncated},
		{"copy from without a size", "06 00 00 00 " + record, ErrTruncated},
		{"copy to of 2^63 bytes", "07 00 00 00 " + record + "00 00 00 00 00 00 00 80 61", ErrPacket},
		{"copy to with a byte too many", "07 00 00 00 " + record + "01 00 00 00 00 00 00 00 61 62", ErrPacket},
		{"copy to half a tensor", "07 00 00 00 00", ErrTruncated},
		{"system call without arguments", "09 00 00 00", ErrTruncated},
	}
	for _, c := range cases {
		for _, f := range allFlavours {
			t.Run(c.name+"/"+f.String(), func(t *testing.T) {
				p, err := DecodePacket(f, unhex(t, c.body))
				if p != nil {
					t.Errorf("got %+v", p)
				}
				wantErr(t, err, c.want)
			})
		}
	}
}

// foreignPacket is a Packet that is none of ours.
type foreignPacket struct{ Shutdown }

func TestPacketsThatCannotBeSent(t *testing.T) {
	cases := []struct {
		name string
		p    Packet
		want error
	}{
		{"nil", nil, ErrRPCCode},
		{"of another package", foreignPacket{}, ErrRPCCode},
		{"by pointer", &Shutdown{}, ErrRPCCode},
		{"system call of another code", Syscall{Code: RPCReturn}, ErrRPCCode},
		{"system call of a code to come", Syscall{Code: RPCDevGetCurrentStream + 1}, ErrRPCCode},
		{"copy of another size", CopyToRemote{NBytes: 2, Data: []byte("abc")}, ErrPacket},
		{"copy to too many dimensions", CopyToRemote{Tensor: Tensor{Shape: make([]int64, maxDims+1)}}, ErrTensor},
		{"copy from too many dimensions", CopyFromRemote{Tensor: Tensor{Shape: make([]int64, maxDims+1)}}, ErrTensor},
		{"bad value", CallFunc{Args: []Value{{Kind: KindTensor}}}, ErrTensor},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := AppendPacket([]byte("before"), FlavourC, c.p)
			wantErr(t, err, c.want)
			if string(got) != "before" {
				t.Errorf("dst became %q", got)
			}
		})
	}
}

func TestPacketLen(t *testing.T) {
	header := func(n uint64) [8]byte { return [8]byte(appendU64(nil, n)) }
	for n, ok := range map[uint64]bool{0: true, 100: true, 101: false, 1 << 31: false, 1 << 63: false, math.MaxUint64: false} {
		got, err := PacketLen(header(n), 100)
		switch {
		case ok && (err != nil || uint64(got) != n):
			t.Errorf("%d: got %d, %v", n, got, err)
		case !ok:
			wantErr(t, err, ErrPacketLength)
		}
	}
	_, err := PacketLen(header(0), -1)
	wantErr(t, err, ErrPacketLength)
}

func TestNames(t *testing.T) {
	for c, want := range map[RPCCode]string{
		RPCNone: "kNone", RPCShutdown: "kShutdown", RPCInitServer: "kInitServer", RPCCallFunc: "kCallFunc", RPCCopyAck: "kCopyAck",
		RPCGetGlobalFunc: "kGetGlobalFunc", RPCCopyAmongRemote: "kCopyAmongRemote", RPCDevGetCurrentStream: "kDevGetCurrentStream",
		22: "RPCCode(22)", -1: "RPCCode(-1)",
	} {
		if c.String() != want {
			t.Errorf("code %d is called %s, want %s", int32(c), c, want)
		}
	}
	for k, want := range map[Kind]string{KindNull: "null", KindTensor: "tensor", KindObject: "object", 13: "Kind(13)"} {
		if k.String() != want {
			t.Errorf("kind %d is called %s, want %s", uint8(k), k, want)
		}
	}
}

func TestParseFlavour(t *testing.T) {
	for s, want := range map[string]Flavour{"Auto": FlavourAuto, "auto": FlavourAuto, "A": FlavourA, "a": FlavourA, "b": FlavourB, "C": FlavourC} {
		if got, err := ParseFlavour(s); got != want || err != nil {
			t.Errorf("%q: got %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "D", "AB", " A", "0.8.0", "Flavour(4)"} {
		_, err := ParseFlavour(s)
		wantErr(t, err, ErrFlavour)
	}
	if got := Flavour(9).String(); got != "Flavour(9)" {
		t.Errorf("out of range: %s", got)
	}
}

func TestTypeCodes(t *testing.T) {
	// A kReturn says by these what a result is.
	want := map[Flavour]map[Kind]int32{
		FlavourA: {KindNull: 4, KindInt: 0, KindFloat: 2, KindStr: 11, KindBytes: 12, KindFunc: 10, KindModule: 9, KindObject: 8},
		FlavourB: {KindNull: 0, KindInt: 1, KindBool: 2, KindStr: 8, KindBytes: 9, KindFunc: 68, KindModule: 73, KindObject: 115},
		FlavourC: {KindNull: 0, KindInt: 1, KindBool: 2, KindStr: 8, KindBytes: 9, KindFunc: 68, KindModule: 73, KindObject: 115},
	}
	for f, codes := range want {
		for k, code := range codes {
			if got, ok := f.TypeCode(k); got != code || !ok {
				t.Errorf("flavour %s, %s: got %d, %v, want %d", f, k, got, ok, code)
			}
		}
	}
	for f, code := range map[Flavour]int32{FlavourA: 13, FlavourB: 72, FlavourC: 70} {
		if got, ok := f.TensorObjectCode(); got != code || !ok {
			t.Errorf("flavour %s: a tensor is %d, %v, want %d", f, got, ok, code)
		}
	}
	if _, ok := FlavourAuto.TypeCode(KindInt); ok {
		t.Error("Auto has a type code")
	}
	if _, ok := FlavourAuto.TensorObjectCode(); ok {
		t.Error("Auto has a code for tensors")
	}
	if _, ok := FlavourC.TypeCode(KindObject + 1); ok {
		t.Error("a kind that is none has a type code")
	}
}

func TestFlavourOfOddInitReplies(t *testing.T) {
	packet := func(f Flavour, p Packet) []byte {
		b, err := AppendPacket(nil, f, p)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	null := packet(FlavourC, Return{Values: []Value{Null()}})
	cases := []struct {
		name   string
		packet []byte
		want   error
		says   string
	}{
		{"exception A", packet(FlavourA, Exception{Text: "no such version"}), ErrInitRefused, "no such version"},
		{"exception C", packet(FlavourC, Exception{Text: "no such version"}), ErrInitRefused, "no such version"},
		{"nothing", nil, ErrTruncated, "kInitServer"},
		{"half", null[:12], ErrTruncated, "kInitServer"},
		{"more than one", append(bytes.Clone(null), null...), ErrTrailing, "kInitServer"},
		{"length of 2^64-1", bytes.Repeat([]byte{0xff}, 20), ErrTruncated, "kInitServer"},
		{"empty packet", make([]byte, 8), ErrFlavour, "kInitServer"},
		{"two nulls", packet(FlavourA, Return{Values: []Value{Null(), Null()}}), ErrFlavour, "04000000"},
		{"an int", packet(FlavourC, Return{Values: []Value{Int(1)}}), ErrFlavour, "04000000"},
		{"shutdown", packet(FlavourC, Shutdown{}), ErrFlavour, "01000000"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := FlavourOfInitReply(c.packet)
			wantErr(t, err, c.want)
			if f != FlavourAuto || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %s, %v", f, err)
			}
		})
	}
}

// TestFlavourOfFirstCallIsNeverAmbiguous: names of every length, 65 above all,
// whose length looks like C's code for strings.
func TestFlavourOfFirstCallIsNeverAmbiguous(t *testing.T) {
	body := func(head string, name string) []byte {
		b := append(unhex(t, "09 00 00 00 01 00 00 00 "+head), appendU64(nil, uint64(len(name)))...)
		return append(b, name...)
	}
	for n := range 200 {
		for _, filler := range []string{"x", "\x00"} {
			name := strings.Repeat(filler, n)
			cases := map[string]struct {
				body []byte
				want Flavour
			}{
				"A":              {body("0b 00 00 00", name), FlavourA},
				"C, C string":    {body("08 00 00 00", name), FlavourC},
				"C, object":      {body("41 00 00 00 41 00 00 00", name), FlavourC},
				"C, small":       {body("0b 00 00 00 41 00 00 00", name), FlavourC},
				"C, other index": {body("96 00 00 00 41 00 00 00", name), FlavourC},
			}
			for form, c := range cases {
				if got, ok := FlavourOfFirstCall(c.body); got != c.want || !ok {
					t.Errorf("%s, %d bytes of %q: got %s, %v", form, n, filler, got, ok)
				}
			}
		}
	}
	for name, b := range map[string][]byte{
		"nothing":           nil,
		"another code":      unhex(t, "0a 00 00 00 01 00 00 00 08 00 00 00 00 00 00 00 00 00 00 00"),
		"no name":           unhex(t, "09 00 00 00 00 00 00 00"),
		"bytes for a name":  unhex(t, "09 00 00 00 01 00 00 00 0c 00 00 00 00 00 00 00 00 00 00 00"),
		"more after it":     append(body("08 00 00 00", "foo"), 0),
		"less than it says": body("0b 00 00 00", "foo")[:20],
	} {
		if f, ok := FlavourOfFirstCall(b); ok {
			t.Errorf("%s: taken for %s", name, f)
		}
	}
}

func TestDataTypes(t *testing.T) {
	cases := map[string]DataType{
		"int8": {DTypeInt, 8, 1}, "uint16": {DTypeUInt, 16, 1}, "float32": {DTypeFloat, 32, 1}, "bfloat16": {DTypeBFloat, 16, 1},
		"float32x4": {DTypeFloat, 32, 4}, "int4x8": {DTypeInt, 4, 8}, "bool": {DTypeUInt, 1, 1}, "uint1x8": {DTypeUInt, 1, 8},
		"bool8": {DTypeBool, 8, 1}, "handle": {DTypeHandle, 64, 1}, "handle32": {DTypeHandle, 32, 1}, "void": {DTypeHandle, 0, 0},
		"complex64": {DTypeComplex, 64, 1}, "custom[10]8": {10, 8, 1}, "custom[255]255x65535": {255, 255, 65535}, "int8x0": {DTypeInt, 8, 0},
	}
	for s, d := range cases {
		if got := d.String(); got != s {
			t.Errorf("%+v is written as %s, want %s", d, got, s)
		}
		if got, err := ParseDataType(s); got != d || err != nil {
			t.Errorf("%s: got %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "float", "32", "float32x", "floatx4", "float32x4x4", "float256", "int8x65536", "int-8", "int+8", "Int8",
		"float 32", "custom[]8", "custom[256]8", "custom[7", "custom[7]", "int8 ", "foo8", "int08y"} {
		_, err := ParseDataType(s)
		wantErr(t, err, ErrDataType)
	}
	for d, want := range map[DataType]int{{DTypeFloat, 32, 1}: 4, {DTypeUInt, 1, 1}: 1, {DTypeInt, 4, 3}: 2, {}: 0, {0, 255, 65535}: 2088929} {
		if d.Size() != want {
			t.Errorf("%s has %d bytes, want %d", d, d.Size(), want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := drawDType().Draw(t, "type")
		if got, err := ParseDataType(d.String()); got != d || err != nil {
			t.Fatalf("%+v is written as %s and read as %+v, %v", d, d, got, err)
		}
	})
}
