package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"rpcpool.dev/rpc/accumulator"
)

// TestS1_41_TheSumIsExact: it prints what docs/accumulators.md says that it does.
func TestS1_41_TheSumIsExact(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), 4, &out); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/accumulators.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "$ go run ./examples/accumulate\n")
	want, _, closed := strings.Cut(text, "```")
	if !found || !closed || out.String() != want {
		t.Errorf("it prints %q, the page says %q", out.String(), want)
	}
}

func TestDaysAreASet(t *testing.T) {
	var a, b Days
	a.Put(1)
	b.Put(1)
	b.Put(6)
	if err := a.Merge(&b); err != nil || a.String() != "Monday, Saturday" {
		t.Errorf("%v, %v", a, err)
	}
	if err := a.Merge(new(accumulator.Sum)); err == nil {
		t.Error("a sum was merged")
	}
	for _, bad := range [][]byte{nil, {0x80}, {1, 2}} {
		if err := a.UnmarshalBinary(bad); err == nil {
			t.Errorf("%x was taken", bad)
		}
	}
}
