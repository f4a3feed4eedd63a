package main

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"rpcpool.dev/rpc"
)

func TestMain(m *testing.M) {
	if rpc.IsWorker() {
		if err := run(context.Background(), 0, os.Stderr); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestS2_2_TheCallerOutlivesItsCallee(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, 300, &out); err != nil {
		t.Fatal(err)
	}
	// The last call is one that crashes, once in forty times.
	m := regexp.MustCompile(`worker died: crash-exit, signal 0, status 2, it wrote [1-9]\d* bytes\n(?:The answer is 299\n)?(\d+) of 300 calls crashed; of 300 that may be run again, (\d+) have a result`).FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("it prints\n%s", out.String())
	}
	crashed, _ := strconv.Atoi(m[1])
	retried, _ := strconv.Atoi(m[2])
	if crashed == 0 || crashed > 60 || retried < 298 {
		t.Errorf("%d crashed, %d of 300 were run again with success", crashed, retried)
	}
}
