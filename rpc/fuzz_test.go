package rpc

import (
	"bytes"
	"testing"
)

func FuzzParseDetail(f *testing.F) {
	f.Add(appendDetail(nil, "forbidden", []byte("more")))
	f.Add([]byte{200, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		reason, detail := parseDetail(b)
		if again := appendDetail(nil, reason, detail); len(again) > 0 && !bytes.Equal(again, b) {
			t.Fatalf("% x became % x", b, again)
		}
	})
}
