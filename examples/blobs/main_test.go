package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"rpcpool.dev/rpc"
)

func TestMain(m *testing.M) {
	if rpc.IsWorker() {
		if err := run(context.Background(), os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestS2_19_TheAnswerIs42(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	if want := "The answer is 42\n16384 lines\n"; out.String() != want {
		t.Errorf("it prints %q, want %q", out.String(), want)
	}
}
