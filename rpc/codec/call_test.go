package codec

import (
	"bytes"
	"math/big"
	"reflect"
	"strings"
	"testing"
)

// A call by name as it is on the wire: the name, a blob reference, integers and
// text, and nothing that was generated.
func TestS2_14_CallByNameHasTheseBytes(t *testing.T) {
	c := codecs(t).CBOR()
	wire, err := c.AppendCall(nil, "snprintf", BlobRef{0xb1, 0x0b}, 64, "fmt %d", 42)
	if err != nil {
		t.Fatal(err)
	}
	want := unhex(t, `
		85
		68 736e7072696e7466
		da 52504342 42 b10b
		18 40
		66 666d74202564
		18 2a`)
	if !bytes.Equal(wire, want) {
		t.Errorf("bytes differ\n got % x\nwant % x", wire, want)
	}
	call, err := c.DecodeCall(want)
	if err != nil || call.Name != "snprintf" || call.Args.Len() != 4 {
		t.Fatalf("%+v, %v", call, err)
	}
	var (
		blob   BlobRef
		n      int
		format string
		x      uint8
	)
	if err := call.Args.Decode(&blob, &n, &format, &x); err != nil || n != 64 || format != "fmt %d" || x != 42 || !bytes.Equal(blob, []byte{0xb1, 0x0b}) {
		t.Errorf("% x, %d, %q, %d: %v", blob, n, format, x, err)
	}
	values, err := call.Args.Values()
	if err != nil || !reflect.DeepEqual(values, []any{BlobRef{0xb1, 0x0b}, int64(64), "fmt %d", int64(42)}) {
		t.Errorf("%#v, %v", values, err)
	}
}

func TestS2_14_ResultsHaveTheseBytes(t *testing.T) {
	c := codecs(t).CBOR()
	wire, err := c.AppendItems(nil, 16)
	if err != nil || !bytes.Equal(wire, []byte{0x81, 0x10}) {
		t.Fatalf("% x, %v", wire, err)
	}
	items, err := c.DecodeItems(wire)
	var n int64
	if err != nil || items.Decode(&n) != nil || n != 16 {
		t.Errorf("%d, %v", n, err)
	}
}

// Equal arguments have equal bytes, whatever Go types they have and whichever
// way a map is walked: their hash says that they are the same.
func TestS2_14_EqualArgumentsHaveEqualBytes(t *testing.T) {
	c := codecs(t).CBOR()
	m, again := map[string]int{}, map[string]any{}
	for i := range 100 {
		key := strings.Repeat("k", i)
		m[key], again[key] = i, uint16(i)
	}
	a, err := c.AppendCall(nil, "f", 1, 1.5, m)
	b, err2 := c.AppendCall(nil, "f", uint64(1), float32(1.5), again)
	if err != nil || err2 != nil || !bytes.Equal(a, b) {
		t.Errorf("%v, %v\n% x\n% x", err, err2, a, b)
	}
}

func TestS2_14_WhatIsNoCall(t *testing.T) {
	c := codecs(t).CBOR()
	for _, x := range []struct{ name, wire, want string }{
		{"nothing", "", "not an array"},
		{"null", "f6", "not an array"},
		{"a name alone", "61 66", "not an array"},
		{"an array without a name", "80", "has no name"},
		{"a number for a name", "81 01", "call by name: name: "},
		{"null for a name", "81 f6", "name is empty"},
		{"an empty name", "81 60", "name is empty"},
		{"a part of a call", "82 61 66", "unexpected EOF"},
		{"a call and a byte", "81 61 66 00", "extraneous"},
		{"a name that is not UTF-8", "81 61 ff", "UTF-8"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := c.DecodeCall(unhex(t, x.wire))
			wantError(t, err, x.want)
		})
	}
	call, err := c.DecodeCall(unhex(t, "83 61 66 01 61 ff"))
	if err != nil {
		t.Fatal(err)
	}
	var s string
	wantError(t, call.Args.Decode(&s), "2 items, 1 are wanted")
	wantError(t, call.Args.Decode(&s, &s), "item 0:", "cannot unmarshal positive integer into Go value of type string")
	_, err = call.Args.Values()
	wantError(t, err, "item 1:", "UTF-8")
	_, err = c.AppendCall(nil, "f", make(chan int))
	wantError(t, err, "chan int cannot be marshalled")
}

// A command line speaks JSON; what it says comes back as it was.
func TestS2_14_JSONAndBack(t *testing.T) {
	c := codecs(t).CBOR()
	for _, text := range []string{
		`null`, `true`, `[]`, `{}`, `"ä\u0000"`, `0`, `-1`, `9223372036854775807`, `-9223372036854775808`,
		`18446744073709551616`, `-99999999999999999999999999`, `1.0`, `0.1`, `1e+100`, `-0.0`, `5e-324`,
		`["snprintf",{"$blob":"sQs="},64,"fmt %d",42]`,
		`{"$bytes":"AAEC/w=="}`, `{"$float":"NaN"}`, `{"$float":"-Infinity"}`, `{"$float":"Infinity"}`,
		`{"$time":"2026-02-03T04:05:06.000000007+02:00"}`,
		strings.Repeat("[", MaxNesting+1) + strings.Repeat("]", MaxNesting+1),
		`{"$$$":1,"$$bytes":"no","<a&b>":[{"c":[[]]}]}`,
	} {
		wire, err := c.FromJSON(nil, []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if back, err := c.ToJSON([]byte("> "), wire); err != nil || string(back) != "> "+text {
			t.Errorf("%s became % x and %s, %v", text, wire, back, err)
		}
	}
}

func TestS2_14_JSONIsExact(t *testing.T) {
	c := codecs(t).CBOR()
	for text, want := range map[string]string{
		`42`: "182a", `42.0`: "f95140", `1e2`: "f95640", `18446744073709551615`: "1bffffffffffffffff",
		`18446744073709551616`: "c249010000000000000000", `{"$bytes":"qg=="}`: "41aa", ` [ 1 , "a" ] `: "82016161",
	} {
		if wire, err := c.FromJSON(nil, []byte(text)); err != nil || !bytes.Equal(wire, unhex(t, want)) {
			t.Errorf("%s became % x, want %s; %v", text, wire, want, err)
		}
	}
}

func TestS2_14_JSONThatIsRefused(t *testing.T) {
	c := codecs(t).CBOR()
	for _, x := range []struct{ name, text, want string }{
		{"nothing", "", "unexpected EOF"},
		{"a list that does not end", "[1", "unexpected EOF"},
		{"an object that does not end", `{"a":1`, "unexpected EOF"},
		{"a key without a value", `{"a"`, "unexpected EOF"},
		{"half a key", `{"a`, "unexpected EOF"},
		{"two values", "1 2", "more than one value"},
		{"a key twice", `{"a":1,"a":2}`, `key "a" is there twice`},
		{"not UTF-8", "\"\xff\"", "not UTF-8"},
		{"a float that is too large", "1e999", "does not fit into a float64"},
		{"an integer that is too long", strings.Repeat("9", maxDigits+1), "too long"},
		{"too deep", strings.Repeat("[", 100_000), "nested deeper"},
		{"one level too deep", strings.Repeat("[", MaxNesting+2) + strings.Repeat("]", MaxNesting+2), "nested deeper"},
		{"an unknown word", `{"$what":"x"}`, `key "$what" is not known`},
		{"a word with company", `{"$bytes":"","a":1}`, "is not alone"},
		{"bytes that are a number", `{"$bytes":1}`, "is not a string"},
		{"bytes that are not base64", `{"$bytes":"?"}`, "illegal base64"},
		{"a time that is none", `{"$time":"yesterday"}`, `value of "$time"`},
		{"a float that is a number", `{"$float":"1"}`, "is not NaN"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := c.FromJSON(nil, []byte(x.text))
			wantError(t, err, x.want)
		})
	}
}

func TestS2_14_CBORWithoutAFormInJSON(t *testing.T) {
	c := codecs(t).CBOR()
	for _, x := range []struct{ name, wire, want string }{
		{"an unknown tag", "81 d9 0400 01", "cbor.Tag has no form"},
		{"an unknown simple value", "a1 6161 f0", "cbor.SimpleValue has no form"},
		{"a boolean as key", "a1 f5 01", "key of type bool"},
		{"one key as text and as integer", "a2 01 01 6131 01", `key "1" is there as text and as an integer`},
		{"malformed", "ff", "cbor codec"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := c.ToJSON(nil, unhex(t, x.wire))
			wantError(t, err, x.want)
		})
	}
	long, err := c.Append(nil, new(big.Int).Lsh(big.NewInt(1), 100_000))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.ToJSON(nil, long)
	wantError(t, err, "integer of 100001 bits is too long")
	if text, err := c.ToJSON(nil, unhex(t, "a1 20 f7")); err != nil || string(text) != `{"-1":null}` {
		t.Errorf("%s, %v", text, err)
	}
}
