package main

import (
	"bytes"
	"context"
	"testing"
	"time"
)

func TestC16_ItemsGoInBothDirections(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	if want := "101\n103\n106\n101\na negative number ends a stream\n"; out.String() != want {
		t.Errorf("it prints\n%s", out.String())
	}
}
