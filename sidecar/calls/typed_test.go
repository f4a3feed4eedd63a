package calls

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
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
	rpc.Handle(s, "scribble", func(_ context.Context, a scribble) (int, error) {
		a.Buffer.Bytes()[0]++
		return os.Getpid(), nil
	})
	rpc.Handle(s, "pid", func(context.Context, int) (int, error) { return os.Getpid(), nil })
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

// scribble is what a handler has that writes to its argument.
type scribble struct{ Buffer rpc.BlobArg }

// TestAHandlerThatWritesToWhatItMayOnlyReadFailsAlone: its call has an error, and its worker goes on.
func TestAHandlerThatWritesToWhatItMayOnlyReadFailsAlone(t *testing.T) {
	starter, err := direct.New(direct.Command{Path: os.Args[0], Env: append(os.Environ(), "WORKER=typed")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = starter.Close() })
	r := newRig(t, Options{Starter: starter})
	worker, err := rpc.Call[int](t.Context(), r.client, "pid", 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.client.PutBlob(t.Context(), 9, strings.NewReader("untouched"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.Call[int](t.Context(), r.client, "scribble", scribble{b.In()}); !errors.Is(err, rpc.Failed) || !strings.Contains(err.Error(), "only to be read") {
		t.Errorf("the call: %v", err)
	}
	if again, err := rpc.Call[int](t.Context(), r.client, "pid", 0); again != worker || err != nil {
		t.Errorf("worker %d has become %d, %v", worker, again, err)
	}
	if err := b.Free(); err != nil {
		t.Error(err)
	}
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
