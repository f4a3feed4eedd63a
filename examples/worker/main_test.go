package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/workers/direct"
	"rpcpool.dev/sidecar/calls"
)

func TestMain(m *testing.M) {
	if rpc.IsWorker() || os.Getenv("BY_HAND") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestAServerStartsTheProgramAndCallsIt, as `rpcpool serve -- worker` does.
func TestAServerStartsTheProgramAndCallsIt(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	starter, err := direct.New(direct.Command{Path: os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = starter.Close() }()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := calls.New(calls.Options{Starter: starter, Listeners: []net.Listener{l}})
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(serving) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	c, err := rpc.Dial(rpc.ClientOptions{}, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	if n, err := rpc.Call[int](ctx, c, "Add", Pair{1, 2}); n != 3 || err != nil {
		t.Errorf("Add: %d, %v", n, err)
	}
	if n, err := rpc.Call[int](ctx, c, "Add", map[string]int{"A": 3, "B": 4}); n != 7 || err != nil {
		t.Errorf("Add of a map: %d, %v", n, err)
	}
	if b, err := rpc.Call[[]byte](ctx, c, "echo", []byte("hello")); string(b) != "hello" || err != nil {
		t.Errorf("echo: %q, %v", b, err)
	}
	_, err = rpc.Call[[]byte](ctx, c, "fail", []byte("why not"))
	if !errors.Is(err, rpc.Reason("refused")) || !errors.Is(err, rpc.Executed) || !strings.Contains(err.Error(), "no: why not") {
		t.Errorf("fail: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := rpc.Call[[]byte](short, c, "slow", []byte{}); !errors.Is(err, rpc.DeadlineExceeded) {
		t.Errorf("slow: %v", err)
	}
}

func TestStartedByHandItSaysWhoHasToStartIt(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "BY_HAND=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "rpcpool serve --protocol rpc -- ") {
		t.Errorf("%v, %s", err, out)
	}
}
