package calls

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/workers/direct"
)

// work is a worker whose methods have types.
func work() error {
	s, err := rpc.NewServer(rpc.ServerOptions{Isolate: &rpc.Isolate{}})
	if err != nil {
		return err
	}
	rpc.Handle(s, "twice", func(_ context.Context, n int) (int, error) { return 2 * n, nil })
	rpc.HandleStream(s, "sum", func(_ context.Context, start int, st *rpc.ServerStream[int, int]) error {
		for {
			n, err := st.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if start += n; st.Send(start) != nil {
				return nil
			}
		}
	})
	return s.Work(context.Background())
}

// TestWhatClientsOfAnEmbeddedServerCanDoTheyCanDoHere: streams, and results as arguments.
func TestWhatClientsOfAnEmbeddedServerCanDoTheyCanDoHere(t *testing.T) {
	starter, err := direct.New(direct.Command{Path: os.Args[0], Env: append(os.Environ(), "WORKER=typed")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = starter.Close() })
	r := newRig(t, Options{Starter: starter, Concurrency: 4})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	st, err := rpc.OpenStream[int, int](ctx, r.client, "sum", 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 2, 4} {
		if err := st.Send(ctx, i); err != nil {
			t.Fatal(err)
		}
		if got, err := st.Recv(ctx); got != want || err != nil {
			t.Fatalf("item %d: %d, %v", i, got, err)
		}
	}
	if err := st.CloseSend(ctx); err != nil {
		t.Error(err)
	}
	if _, err := st.Recv(ctx); !errors.Is(err, io.EOF) {
		t.Errorf("after the last item: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	two := rpc.Spawn[int](ctx, r.client, "twice", 1)
	four := rpc.Spawn[int](ctx, r.client, "twice", two.Result())
	if got, err := four.Get(ctx); got != 4 || err != nil {
		t.Errorf("twice twice 1 is %d, %v", got, err)
	}
}
