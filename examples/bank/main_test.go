package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func TestS3_11_TheBalanceIsExactAlthoughConnectionsBreak(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, 1000, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "no late put has overwritten a later one") {
		t.Errorf("it prints\n%s", out.String())
	}
	t.Log(out.String())
}
