package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/worker"
)

// isolated is a server whose handlers run in workers: this binary again.
func isolated() (*Server, error) { return isolatedLogging(nil) }

func isolatedLogging(log *slog.Logger) (*Server, error) {
	s, err := NewServer(ServerOptions{Isolate: &Isolate{Command: []string{os.Args[0]}, Output: io.Discard}, Log: log})
	if err != nil {
		return nil, err
	}
	handleBlobs(s)
	steps(s)
	handleSecrets(s)
	handleTraces(s)
	handleEveryWay(s)
	Handle(s, "OnceInWorker", func(_ context.Context, n int) (int, error) { return n, nil }, MethodOptions{Once: IsWorker()})
	Handle(s, "WaitInWorker", func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}, MethodOptions{Timeout: 100 * time.Millisecond})
	HandleStream(s, "Sum", func(ctx context.Context, start int, st *ServerStream[int, int]) error {
		if start < 0 {
			os.Exit(7)
		}
		return sum(ctx, start, st)
	})
	return s, nil
}

// work is the worker's program.
func work() {
	s, err := isolated()
	if err == nil {
		err = s.Work(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func TestAHandlerInAWorkerThatHeedsItsDeadlineEndsAsThat(t *testing.T) {
	s, err := isolated()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(ClientOptions{}, "unix:"+served(t, s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for {
		_, err := Call[int](soon(t), c, "WaitInWorker", 1)
		if errors.Is(err, context.DeadlineExceeded) && errors.Is(err, NotExecuted) {
			continue // its worker was not ready in time, or had no processor
		}
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, Executed) {
			t.Error(err)
		}
		return
	}
}

// TestACallWithinTheProcessIsIsolatedToo: what crashes is the worker, also where nobody serves.
func TestACallWithinTheProcessIsIsolatedToo(t *testing.T) {
	s, err := isolated()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := Call[string](soon(t), s.Local(), "Run", "x?Run"); !errors.Is(err, Crashed) {
		t.Error(err)
	}
	if got, err := Call[string](soon(t), s.Local(), "Run", "x"); got != "x Run" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestStreamsAreIsolatedToo(t *testing.T) {
	s, err := isolated()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(ClientOptions{}, "unix:"+served(t, s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for name, caller := range map[string]Caller{"over a socket": c, "within the process": s.Local()} {
		t.Run(name, func(t *testing.T) {
			ctx := soon(t)
			st, err := OpenStream[int, int](ctx, caller, "Sum", 40)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(st.Send(ctx, 2), st.CloseSend(ctx)); err != nil {
				t.Error(err)
			}
			if got, err := st.Recv(ctx); got != 42 || err != nil {
				t.Errorf("%d, %v", got, err)
			}
			if _, err := st.Recv(ctx); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			if st, err = OpenStream[int, int](ctx, caller, "Sum", -1); err != nil {
				t.Fatal(err)
			}
			var e *Error
			if _, err := st.Recv(ctx); !errors.Is(err, Crashed) || !errors.As(err, &e) {
				t.Fatal(err)
			}
			if r, ok := e.Crash(); !ok || r.Cause != crash.Exit || r.Status != 7 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestAWorkerDoesNotServe: a program that has forgotten Work would serve in each of its workers, too.
func TestAWorkerDoesNotServe(t *testing.T) {
	t.Setenv(worker.Variable, worker.Calls)
	s, err := isolated()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if l, err := s.Listen(soon(t), "127.0.0.1:0"); !errors.Is(err, errWorker) {
		t.Errorf("it listens: %v, %v", l, err)
	}
	l, err := (&net.ListenConfig{}).Listen(soon(t), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // so that who serves after all ends
	if err := s.Serve(l); !errors.Is(err, errWorker) {
		t.Errorf("it serves: %v", err)
	}
}
