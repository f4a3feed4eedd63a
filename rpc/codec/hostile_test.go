package codec

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// hostile is what nobody sends who means well.
var hostile = []struct{ name, wire, want string }{
	{"nothing", "", "EOF"},
	{"an array of 2^32 items that are not there", "9a ffffffff", "exceeded max number of elements"},
	{"an array of 2^64 - 1 items", "9b ffffffffffffffff", "array length"},
	{"an array of 16 Mi items that are not there", "9a 01000000 00", "unexpected EOF"},
	{"a map of 2^31 pairs", "ba 7fffffff", "exceeded max number of key-value pairs"},
	{"a map of 1 Mi pairs that are not there", "ba 00100000 00 00", "unexpected EOF"},
	{"2^63 bytes", "5b 8000000000000000", "length"},
	{"2^40 bytes", "5b 0000010000000000 00", "unexpected EOF"},
	{"2^40 bytes of text", "7b 0000010000000000 00", "unexpected EOF"},
	{"a key twice", "a2 6161 01 6161 02", "duplicate map key"},
	{"a key twice, as short and long integer", "a2 01 01 1801 02", "duplicate map key"},
	{"an array without a length", "9f 01 ff", "indefinite-length"},
	{"bytes without a length", "5f 41 00 ff", "indefinite-length"},
	{"text that is not UTF-8", "62 c328", "UTF-8"},
	{"a list as key", "a1 80 01", "key of a map"},
	{"a time that is none", "c0 61 61", "time.Time"},
	{"a bignum that is text", "c2 61 61", "byte string"},
	{"a blob that is a number", "da 52504342 01", "cannot unmarshal"},
	{"two values", "01 02", "extraneous"},
	{"a blob as key", "a1 da 52504342 41 01 01", "key of a map"},
	{"a struct with a list in it as key", "a1 d9 9c42 a1 65 5061727473 80 01", "key of a map"},
	{"NaN as key, twice", "a2 f97e00 01 f97e00 02", "key of a map"},
	{"a bignum as key, twice", "a2 c249010000000000000000 01 c249010000000000000000 02", "key of a map"},
	{"2^64 - 1 as key, twice", "a2 1bffffffffffffffff 01 1bffffffffffffffff 02", "map key"},
	{"one as integer and as float", "a2 01 01 f93c00 01", "key of a map"},
	{"null as key", "a1 f6 01", "key of a map"},
	{"a list as the second key of an inner map", "82 a0 82 a1 20 f6 a2 01 83f6c10142ffff 80 01", "key of a map"},
	{"a list as the last key", "82 a1 01 82 02 a1 f5 80 a2 6161 80 80 01", "key of a map"},
	{"nine tags", strings.Repeat("c6", 9) + "01", "too many tags"},
	{"nine long tags behind other items", "85 18 ff 42 0000 61 61 19 ffff" + strings.Repeat("d8 ff", 9) + "01", "too many tags"},
	{"a tag that is cut", "d9 01", "EOF"},
	{"reserved bits", "1c", "additional information"},
	{"a concrete type that is a number", "d9 9c41 01", "cannot unmarshal"},
}

func TestS3_3_HostileBytesAreAnError(t *testing.T) {
	c := codecs(t).CBOR()
	for _, x := range hostile {
		t.Run(x.name, func(t *testing.T) {
			var v any
			wantError(t, c.Decode(unhex(t, x.wire), &v), "cbor codec: decode *interface {}: ", x.want)
			var e everything
			if c.Decode(unhex(t, x.wire), &e) == nil {
				t.Error("a struct took it")
			}
		})
	}
	for _, deep := range []string{"\x81", "\xa1\x01", "\xc6\x81", "\xd9\x9c\x42\xa1\x65Parts\x81"} {
		var v any
		wantError(t, c.Decode([]byte(strings.Repeat(deep, 1<<20)), &v), "max nested level")
	}
	var s []string
	for _, target := range []any{nil, s, (*int)(nil), 1} {
		if err := c.Decode([]byte{1}, target); err == nil {
			t.Errorf("decoded into %T", target)
		}
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// maxPerByte bounds what the decoder allocates into an any, for one byte of
// input; a fixed part comes in addition. Maps of one pair inside of each other are the worst case.
const (
	maxPerByte = 192
	maxFixed   = 64 << 10
)

// The memory that a message takes is in proportion to its length, whatever it
// says of lengths.
func TestS3_3_DecodeAllocatesInProportion(t *testing.T) {
	c := codecs(t).CBOR()
	const n = 1 << 16
	inputs := map[string][]byte{}
	for _, x := range hostile {
		inputs[x.name] = unhex(t, x.wire)
	}
	for name, item := range map[string]string{
		"integers": "\x00", "long integers": "\x19\x01\x00", "empty maps": "\xa0", "empty lists": "\x80", "empty bytes": "\x40",
		"nulls": "\xf6", "bignums": "\xc2\x41\x01", "small maps": "\xa1\x01\x01", "tags": "\xc6\x01", "nested lists": "\x81\x81\x80", "nested maps": strings.Repeat("\xa1\x01", MaxNesting) + "\x01",
	} {
		items := n / len(item)
		head := []byte{0x9a, 0, byte(items >> 16), byte(items >> 8), byte(items)}
		inputs[name] = append(head, bytes.Repeat([]byte(item), items)...)
	}
	pairs := []byte{0xba, 0, 1, 0, 0}
	for i := range 1 << 16 {
		pairs = append(pairs, 0x19, byte(i>>8), byte(i), 0)
	}
	inputs["one map"] = pairs
	worst := ""
	most := 0.0
	for name, b := range inputs {
		got := allocated(func() { var v any; _ = c.Decode(b, &v) })
		if per := float64(got) / float64(len(b)); len(b) > 1000 && per > most {
			most, worst = per, name
		}
		if got > uint64(maxPerByte*len(b)+maxFixed) {
			t.Errorf("%s: %d bytes made the decoder allocate %d", name, len(b), got)
		}
	}
	t.Logf("most is allocated for %s: %.0f times the input", worst, most)
}

func seeds(f *testing.F) {
	for _, x := range hostile {
		f.Add(unhex(f, x.wire))
	}
	c := codecs(f).CBOR()
	for _, v := range []any{
		[]any{"snprintf", BlobRef{1}, 64, "fmt %d", 42}, map[string]any{"a": 1.5, "b": []byte{1}, "c": nil},
		&everything{Part: &Group{Parts: []Shape{&Square{1}}}, Ptr: &everything{}, Map: map[string]*everything{"a": nil}},
	} {
		b, err := c.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// What can be decoded can be encoded, and then its bytes are stable.
func FuzzDecodeAny(f *testing.F) {
	seeds(f)
	c := codecs(f).CBOR()
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		var err error
		if got := allocated(func() { err = c.Decode(b, &v) }); got > uint64(maxPerByte*len(b)+1<<20) {
			t.Fatalf("%d bytes made the decoder allocate %d", len(b), got)
		}
		if err != nil {
			return
		}
		a, err := c.Append(nil, v)
		if err != nil {
			return // a time out of range
		}
		var again any
		if err := c.Decode(a, &again); err != nil {
			t.Fatalf("% x became %#v and % x: %v", b, v, a, err)
		}
		if a2, err := c.Append(nil, again); err != nil || !bytes.Equal(a, a2) {
			t.Fatalf("% x became % x, %v", a, a2, err)
		}
	})
}

func FuzzDecodeStruct(f *testing.F) {
	seeds(f)
	c := codecs(f).CBOR()
	f.Fuzz(func(t *testing.T, b []byte) {
		var e everything
		if c.Decode(b, &e) != nil {
			return
		}
		a, err := c.Append(nil, &e)
		if err != nil {
			t.Fatalf("%+v cannot be sent on: %v", e, err)
		}
		var again everything
		if err := c.Decode(a, &again); err != nil {
			t.Fatalf("% x: %v", a, err)
		}
	})
}

func FuzzDecodeCall(f *testing.F) {
	seeds(f)
	c := codecs(f).CBOR()
	f.Fuzz(func(t *testing.T, b []byte) {
		call, err := c.DecodeCall(b)
		if err != nil {
			return
		}
		if call.Name == "" || call.Args.Len() > len(b) {
			t.Fatalf("%+v of %d bytes", call, len(b))
		}
		_, _ = call.Args.Values()
	})
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`["f",{"$blob":"AA=="},1,1.0,-0,1e3]`, `{"$$a":{"$time":"2026-02-03T04:05:06Z"}}`, `{"$float":"NaN"}`, `[[[]]]`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	c := codecs(f).CBOR()
	f.Fuzz(func(t *testing.T, text []byte) {
		wire, err := c.FromJSON(nil, text)
		if err != nil {
			return
		}
		back, err := c.ToJSON(nil, wire)
		if err != nil {
			t.Fatalf("%s became % x: %v", text, wire, err)
		}
		if again, err := c.FromJSON(nil, back); err != nil || !bytes.Equal(wire, again) {
			t.Fatalf("%s became %s: %v\n% x\n% x", text, back, err, wire, again)
		}
	})
}

// The tags that this package reserves are not those that the library knows.
func TestBlobRefIsTagged(t *testing.T) {
	c := codecs(t).CBOR()
	var tag cbor.RawTag
	b, err := c.Append(nil, BlobRef("handle"))
	if err != nil || cbor.Unmarshal(b, &tag) != nil || tag.Number != TagBlob {
		t.Errorf("% x: tag %d, %v", b, tag.Number, err)
	}
	var blob BlobRef
	wantError(t, c.Decode([]byte{0x41, 1}, &blob), "expect CBOR tag value")
	if s := fmt.Sprintf("%c%c%c%c", TagBlob>>24, TagBlob>>16&255, TagBlob>>8&255, TagBlob&255); s != "RPCB" {
		t.Errorf("tag is %s", s)
	}
}
