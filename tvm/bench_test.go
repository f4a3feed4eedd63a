package tvm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
)

// benchMessages are what peers send all day, as the stock Python server and
// client write them.
var benchMessages = []struct{ name, payload string }{
	{"ping", `[1]`},
	{"put", `[3, "rasp", [9090, "rasp:0.5951228182607278"], null]`},
	{"put-host", `[3, "rasp", [9090, "rasp:0.5951228182607278"], "10.0.0.7"]`},
	{"request", `[4, "rasp", "", 1]`},
	{"request-float", `[4, "rasp", "", 0.25]`},
	{"update-info", `[5, {"key": "server:rasp", "addr": [null, 9090]}]`},
	{"summary", `[6]`},
	{"get-pending", `[7]`},
}

func BenchmarkParseMessage(b *testing.B) {
	for _, m := range benchMessages {
		payload := []byte(m.payload)
		b.Run(m.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				if _, err := ParseMessage(payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParseMessageStdlib is the floor to compare with: the same checks by
// encoding/json.
func BenchmarkParseMessageStdlib(b *testing.B) {
	for _, m := range benchMessages {
		payload := []byte(m.payload)
		b.Run(m.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := oracleMessage(payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendGrant(b *testing.B) {
	g := Grant{Host: "10.0.0.7", Port: PortNumber(9090), MatchKey: "rasp:0.5951228182607278"}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = EndFrame(g.AppendPayload(BeginFrame(buf[:0])), 0)
	}
}

func BenchmarkParseGrant(b *testing.B) {
	payload := []byte(`[0, ["10.0.0.7", 9090, "rasp:0.5951228182607278"]]`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseGrant(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendMatchKeys(b *testing.B) {
	keys := []string{"rasp:0.5951228182607278"}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendMatchKeys(buf[:0], keys)
	}
}

func BenchmarkSummaryReply(b *testing.B) {
	for _, n := range []int{10, 1000} {
		s := SummaryReply{Queue: map[string]QueueInfo{"rasp": {Free: n}}}
		for i := range n {
			s.Servers = append(s.Servers, ServerInfo{Info: map[string]json.RawMessage{
				"key": json.RawMessage(`"server:rasp"`), "addr": json.RawMessage(fmt.Sprintf(`["10.0.0.7", %d]`, i)),
				"state": json.RawMessage(`"free"`), "age_s": json.RawMessage("1.5"),
			}})
		}
		payload, err := s.AppendPayload(nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("append/%d", n), func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				buf, _ = s.AppendPayload(buf[:0])
			}
		})
		b.Run(fmt.Sprintf("parse/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				if _, err := ParseSummaryReply(payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseClientKey(b *testing.B) {
	key := []byte("client:rasp:0.5951228182607278 -timeout=10")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseClientKey(key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPacket(b *testing.B) {
	packets := []struct {
		name string
		p    Packet
	}{
		{"call", CallFunc{Handle: 0x1122, Args: []Value{Int(7), Float(1.5), Str("hello")}}},
		{"return", Return{Values: []Value{Int(1), Int(7)}}},
		{"upload-64KiB", CopyToRemote{
			Tensor: Tensor{Device: Device{DeviceCPU, 0}, DType: DataType{DTypeUInt, 8, 1}, Shape: []int64{1 << 16}},
			Data:   bytes.Repeat([]byte{7}, 1<<16),
		}},
	}
	for _, f := range []Flavour{FlavourA, FlavourC} {
		for _, c := range packets {
			wire, err := AppendPacket(nil, f, c.p)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("append/%s/%s", f, c.name), func(b *testing.B) {
				var buf []byte
				b.ReportAllocs()
				b.SetBytes(int64(len(wire)))
				for b.Loop() {
					buf, _ = AppendPacket(buf[:0], f, c.p)
				}
			})
			b.Run(fmt.Sprintf("decode/%s/%s", f, c.name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(wire)))
				for b.Loop() {
					if _, err := DecodePacket(f, wire[PacketHeader:]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
