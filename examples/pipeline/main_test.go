package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func TestC20_UploadLoadRunFetch(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 4 || lines[0] != "hello hello hello" || !strings.Contains(lines[1], `"no program" is no program`) || !strings.HasPrefix(lines[2], "loaded as") {
		t.Errorf("it prints\n%s", out.String())
	}
}
