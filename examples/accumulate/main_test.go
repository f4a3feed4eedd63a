package main

import (
	"bytes"
	"testing"
)

func TestS1_41_TheSumIsExact(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), 4, &out); err != nil {
		t.Fatal(err)
	}
	if want := "instances: 5005000\n"; out.String() != want {
		t.Errorf("it prints %q, want %q", out.String(), want)
	}
}
