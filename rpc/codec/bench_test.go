package codec

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"
)

type record struct {
	ID     uint64
	Name   string
	Kind   int
	Scores []float64
	Labels map[string]string
	Next   *record
}

func sample() *record {
	return &record{ID: 1 << 40, Name: "conv2d_nchw", Kind: 3, Scores: []float64{0.25, 1.5, 3.75, 12}, Labels: map[string]string{"a": "1", "b": "2"},
		Next: &record{ID: 2, Name: "dense"}}
}

// BenchmarkEncode and BenchmarkDecode go through a small call: a struct of a
// hundred bytes or so. cbor is ours; gob has a stream of its own for each call,
// as a call on its own needs, and once more one stream for all; the floor is a
// copy of cbor's bytes.
func BenchmarkEncode(b *testing.B) {
	v, c := sample(), codecs(b).CBOR()
	var buf []byte
	b.Run("cbor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = c.Append(buf[:0], v)
		}
		b.ReportMetric(float64(len(buf)), "wire-B")
	})
	b.Run("cbor-pair", func(b *testing.B) { // no recursion, no map
		args := &Args{7, 8}
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = c.Append(buf[:0], args)
		}
	})
	b.Run("call-by-name", func(b *testing.B) {
		blob := BlobRef(make([]byte, 60))
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = c.AppendCall(buf[:0], "snprintf", blob, 64, "fmt %d", 42)
		}
	})
	b.Run("json", func(b *testing.B) {
		var out []byte
		b.ReportAllocs()
		for b.Loop() {
			out, _ = json.Marshal(v)
		}
		b.ReportMetric(float64(len(out)), "wire-B")
	})
	b.Run("gob-stream-per-call", func(b *testing.B) {
		var out bytes.Buffer
		b.ReportAllocs()
		for b.Loop() {
			out.Reset()
			_ = gob.NewEncoder(&out).Encode(v)
		}
		b.ReportMetric(float64(out.Len()), "wire-B")
	})
	b.Run("gob-one-stream", func(b *testing.B) {
		var out bytes.Buffer
		e := gob.NewEncoder(&out)
		b.ReportAllocs()
		for b.Loop() {
			out.Reset()
			_ = e.Encode(v)
		}
	})
	b.Run("proto-struct", func(b *testing.B) {
		m := protoSample(b)
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = Proto{}.Append(buf[:0], m)
		}
	})
	b.Run("floor-copy", func(b *testing.B) {
		wire, _ := c.Append(nil, v)
		b.ReportAllocs()
		for b.Loop() {
			buf = append(buf[:0], wire...)
		}
	})
}

func protoSample(b *testing.B) *structpb.Struct {
	m, err := structpb.NewStruct(map[string]any{"id": 1, "name": "conv2d_nchw", "scores": []any{0.25, 1.5, 3.75, 12}})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func BenchmarkDecode(b *testing.B) {
	v, c := sample(), codecs(b).CBOR()
	wire, err := c.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("cbor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var r record
			_ = c.Decode(wire, &r)
		}
	})
	b.Run("cbor-pair", func(b *testing.B) {
		pair, _ := c.Append(nil, &Args{7, 8})
		var a Args
		b.ReportAllocs()
		for b.Loop() {
			_ = c.Decode(pair, &a)
		}
	})
	b.Run("call-by-name", func(b *testing.B) {
		named, _ := c.AppendCall(nil, "snprintf", BlobRef(make([]byte, 60)), 64, "fmt %d", 42)
		b.ReportAllocs()
		for b.Loop() {
			call, _ := c.DecodeCall(named)
			var blob BlobRef
			var format string
			var n, x int
			_ = call.Args.Decode(&blob, &n, &format, &x)
		}
	})
	b.Run("json", func(b *testing.B) {
		text, _ := json.Marshal(v)
		b.ReportAllocs()
		for b.Loop() {
			var r record
			_ = json.Unmarshal(text, &r)
		}
	})
	b.Run("gob-stream-per-call", func(b *testing.B) {
		var out bytes.Buffer
		_ = gob.NewEncoder(&out).Encode(v)
		b.ReportAllocs()
		for b.Loop() {
			var r record
			_ = gob.NewDecoder(bytes.NewReader(out.Bytes())).Decode(&r)
		}
	})
	b.Run("proto-struct", func(b *testing.B) {
		m := protoSample(b)
		pb, _ := Proto{}.Append(nil, m)
		b.ReportAllocs()
		for b.Loop() {
			_ = Proto{}.Decode(pb, m)
		}
	})
}

// BenchmarkInvoke is a method of net/rpc's form; its floor is the method called
// as Go does.
func BenchmarkInvoke(b *testing.B) {
	r := new(Arith)
	methods, _, err := codecs(b).Methods(r, "")
	if err != nil {
		b.Fatal(err)
	}
	m := find(b, methods, "Arith.Multiply")
	arg, reply := any(&Args{7, 8}), any(new(int))
	b.Run("method", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = m.Invoke(context.Background(), arg, reply)
		}
	})
	b.Run("floor-direct", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = r.Multiply(arg.(*Args), reply.(*int))
		}
	})
}
