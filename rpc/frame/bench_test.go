package frame

import (
	"encoding/binary"
	"testing"
	"time"
)

// BenchmarkEncode writes the frame of a 64-byte call. Its floor is the copy of
// as many bytes.
func BenchmarkEncode(b *testing.B) {
	h := Header{Type: TypeCall, Priority: PriorityNormal, Seq: 1, Deadline: DeadlineOf(time.Second)}
	e := Ext{Method: 3}
	body := make([]byte, 64)
	buf := make([]byte, 0, 256)
	b.Run("frame", func(b *testing.B) {
		b.ReportAllocs()
		var ext [16]byte
		for b.Loop() {
			h.Seq++
			buf = Append(buf[:0], &h, e.Append(ext[:0]), body)
		}
	})
	whole := make([]byte, len(buf))
	b.Run("floor-copy", func(b *testing.B) {
		for b.Loop() {
			buf = append(buf[:0], whole...)
		}
	})
}

// BenchmarkDecode reads the frame of a 64-byte call. Its floor is the load of
// the same fields without a check.
func BenchmarkDecode(b *testing.B) {
	h := Header{Type: TypeCall, Priority: PriorityNormal, Seq: 1, Deadline: DeadlineOf(time.Second)}
	wire := Append(nil, &h, (&Ext{Method: 3}).Append(nil), make([]byte, 64))
	b.Run("header", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseHeader(wire, DefaultMaxFrame); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("header-and-extensions", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h, err := ParseHeader(wire, DefaultMaxFrame)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := ParseExt(wire[HeaderLen : HeaderLen+h.ExtLen]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("checksum-64KiB", func(b *testing.B) {
		body := make([]byte, 64<<10)
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			sink += uint64(Checksum(wire[:HeaderLen], nil, body))
		}
	})
	b.Run("floor-loads", func(b *testing.B) {
		for b.Loop() {
			sink += uint64(binary.LittleEndian.Uint32(wire)) + binary.LittleEndian.Uint64(wire[8:]) +
				binary.LittleEndian.Uint64(wire[16:]) + uint64(binary.LittleEndian.Uint32(wire[24:]))
		}
	})
}

var sink uint64
