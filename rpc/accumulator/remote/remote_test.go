package remote_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/accumulator"
	"rpcpool.dev/rpc/accumulator/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves accumulators, and returns the address.
func serve(t *testing.T) string {
	t.Helper()
	a, err := accumulator.NewServer(accumulator.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	remote.Register(s, a)
	address := "unix:" + filepath.Join(t.TempDir(), "s")
	l, err := s.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return address
}

func TestS1_41_RanksPushOverSocketsAndTheSumIsExact(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	address := serve(t)
	const ranks, writes = 4, 1000
	want := int64(0)
	for rank := range ranks {
		c, err := rpc.Dial(rpc.ClientOptions{}, address)
		if err != nil {
			t.Fatal(err)
		}
		acc := accumulator.NewClient(remote.Pusher{Caller: c}, accumulator.Options{Writes: 64})
		for i := range writes {
			n := int64(i+1) * int64(rank+1)
			want += n
			acc.Sum("instances").Add(n)
		}
		if err := acc.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := rpc.Dial(rpc.ClientOptions{}, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var sum accumulator.Sum
	if err := remote.Read(ctx, c, &sum, "instances"); err != nil {
		t.Fatal(err)
	}
	if got, ok := sum.Int64(); got != want || !ok {
		t.Errorf("sum is %v, want %d", &sum, want)
	}
	if err := remote.Read(ctx, c, &sum, "none"); !errors.Is(err, remote.NotFound) {
		t.Errorf("a missing name: %v", err)
	}
	if ok, err := rpc.Call[bool](ctx, c, remote.MethodReset, remote.Name{Name: "instances"}); !ok || err != nil {
		t.Error(err)
	}
	all, err := rpc.Call[[]remote.Value](ctx, c, remote.MethodList, true)
	if err != nil || len(all) != 1 || all[0].Name.Name != "instances" {
		t.Errorf("%+v, %v", all, err)
	}
	if ok, err := rpc.Call[bool](ctx, c, remote.MethodErase, remote.Name{Name: "instances"}); !ok || err != nil {
		t.Error(err)
	}
	if ok, err := rpc.Call[bool](ctx, c, remote.MethodEraseAll, true); !ok || err != nil {
		t.Error(err)
	}
}

func TestS1_43_AnotherTypeIsRejectedAndNotPushedAgain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := rpc.Dial(rpc.ClientOptions{}, serve(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, close := range []func(*accumulator.Client){
		func(a *accumulator.Client) { a.Sum("n").Add(1) },
		func(a *accumulator.Client) { a.Max("n").Add(1) },
	} {
		acc := accumulator.NewClient(remote.Pusher{Caller: c}, accumulator.Options{})
		close(acc)
		err := acc.Close(ctx)
		if wrong := i == 1; errors.Is(err, accumulator.ErrRejected) != wrong {
			t.Errorf("client %d: %v", i, err)
		}
	}
}

func TestWhatDidNotRunIsToldAsSuch(t *testing.T) {
	c, err := rpc.NewClient(rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = remote.Pusher{Caller: c}.Push(t.Context(), nil)
	var told interface{ NotExecuted() bool }
	if !errors.As(err, &told) || !told.NotExecuted() || !errors.Is(err, rpc.NoServer) {
		t.Errorf("without a server: %v", err)
	}
	var sum accumulator.Sum
	if err := remote.Read(t.Context(), c, &sum, "n"); !errors.Is(err, rpc.NoServer) {
		t.Error(err)
	}
}
