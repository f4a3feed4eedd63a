package codec

import (
	"bytes"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

func TestResultsComeToTheirPlaces(t *testing.T) {
	const item, raw = "da 52504352 f6", "da 52504352 40"
	for _, c := range []struct {
		name, args string
		codec      uint8
		results    []string
		want       string // empty: refused
	}{
		{"no bytes are the place of the only result", "", IDRaw, []string{"01 02"}, "01 02"},
		{"and cannot be that of two", "", IDRaw, []string{"01", "02"}, ""},
		{"items and bytes, in order", "83 " + item + "01" + raw, IDCBOR, []string{"a1 61 61 02", "ff"}, "83 a1 61 61 02 01 41 ff"},
		{"what looks like a place inside of bytes is none", "82 46 " + item + item, IDCBOR, []string{"05"}, "82 46 " + item + "05"},
		{"more places than results", "82" + item + item, IDCBOR, []string{"05"}, ""},
		{"more results than places", "81" + item, IDCBOR, []string{"05", "06"}, ""},
		{"a result that is two items", "81" + item, IDCBOR, []string{"05 06"}, ""},
		{"a place of something else", "81 da 52504352 01", IDCBOR, []string{"05"}, ""},
		{"a place that is cut off", "81 da 52504352", IDCBOR, []string{"05"}, ""},
		{"bytes that are cut off", "82 45 01", IDCBOR, []string{"05"}, ""},
		{"another codec has no places", item, IDRaw, []string{"05"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var results [][]byte
			for _, r := range c.results {
				results = append(results, unhex(t, r))
			}
			got, err := Fill([]byte{9}, c.codec, unhex(t, c.args), results)
			if c.want == "" {
				if err == nil || !bytes.Equal(got, []byte{9}) {
					t.Errorf("% x, %v", got, err)
				}
				return
			}
			if err != nil || !bytes.Equal(got[1:], unhex(t, c.want)) {
				t.Errorf("% x, %v", got, err)
			}
		})
	}
}

// What is filled in is one item if it was before, and not larger than its parts.
func FuzzFill(f *testing.F) {
	f.Add(AppendPlace(AppendPlace([]byte{0x82}, true), false), []byte{0x01}, []byte{0x02})
	f.Add(AppendPlace([]byte{0x82, 0x46, 0xda, 0x52, 0x50, 0x43, 0x52, 0xf6}, false), []byte{0x80}, []byte{})
	f.Fuzz(func(t *testing.T, args, one, other []byte) {
		for _, results := range [][][]byte{{one}, {one, other}} {
			got, err := Fill(nil, IDCBOR, args, results)
			if err != nil {
				continue
			}
			if most := len(args) + len(one) + len(other) + 18; len(got) > most {
				t.Fatalf("%d bytes of at most %d", len(got), most)
			}
			if len(args) > 0 && cbor.Wellformed(args) == nil && cbor.Wellformed(got) != nil {
				t.Fatalf("% x became % x", args, got)
			}
		}
	})
}
