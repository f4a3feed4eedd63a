package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(refusesMemfd) == "yes" {
		fmt.Fprintln(os.Stderr, withoutMemfd())
		os.Exit(1)
	}
	if IsWorker() {
		work()
	}
	if address := os.Getenv("BLOB_CLIENT"); address != "" {
		blobClient(address)
	}
	if address := os.Getenv("BLOB_SERVER"); address != "" {
		blobServer(address)
	}
	goleak.VerifyTestMain(m)
}

// Args are those of the test's Snprintf.
type Args struct {
	Size   int
	Format string
	Values []any
}

func snprintf(_ context.Context, a *Args) (string, error) {
	s := fmt.Sprintf(a.Format, a.Values...)
	if len(s) > a.Size {
		return "", Fail("truncated", []byte{byte(len(s))}, "%d bytes do not fit in %d", len(s), a.Size)
	}
	return s, nil
}

// both runs a test with a client over a socket, and with one within the process.
func both(t *testing.T, opts ServerOptions, prepare func(*Server), test func(t *testing.T, c Caller)) {
	s, err := NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	prepare(s)
	address := "unix:" + filepath.Join(t.TempDir(), "s")
	l, err := s.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-served; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	c, err := Dial(ClientOptions{}, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	t.Run("over a socket", func(t *testing.T) { test(t, c) })
	t.Run("within the process", func(t *testing.T) { test(t, s.Local()) })
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestS3_1_CallsAndHandlersAreOrdinaryProcedures(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) { Handle(s, "Snprintf", snprintf) }, func(t *testing.T, c Caller) {
		ctx := soon(t)
		got, err := Call[string](ctx, c, "Snprintf", Args{64, "The answer is %d", []any{42}})
		if err != nil || got != "The answer is 42" {
			t.Errorf("%q, %v", got, err)
		}
		_, err = Call[string](ctx, c, "Snprintf", &Args{4, "The answer is %d", []any{42}})
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, Failed) || !errors.Is(err, Executed) || !errors.Is(err, Reason("truncated")) || len(e.Detail) != 1 || e.Detail[0] != 16 {
			t.Errorf("%+v", err)
		}
		_, err = Call[string](ctx, c, "Sprintf", Args{})
		if !errors.Is(err, Unimplemented) || !errors.Is(err, NotExecuted) {
			t.Errorf("%v", err)
		}
		_, err = Call[string](ctx, c, "Snprintf", []string{"none", "of", "them"})
		if !errors.Is(err, Invalid) || !errors.Is(err, NotExecuted) {
			t.Errorf("%v", err)
		}
	})
}

func TestAHandlersPanicIsAnError(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Panic", func(context.Context, int) (int, error) { panic("oh") })
	}, func(t *testing.T, c Caller) {
		_, err := Call[int](soon(t), c, "Panic", 1)
		if !errors.Is(err, Failed) || !errors.Is(err, Executed) || !strings.Contains(err.Error(), "oh") {
			t.Error(err)
		}
	})
}

func TestDeadlinesAndCancellationReachTheHandler(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Wait", func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
	}, func(t *testing.T, c Caller) {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := Call[int](ctx, c, "Wait", 1)
		if err == nil || errors.Is(err, NotExecuted) || time.Since(start) > 5*time.Second {
			t.Error(err)
		}
	})
}

// A handler that returns its context's error says no more than that, and a caller looks for what
// ended the call: not for a word of the handler.
func TestAHandlerThatReturnsItsContextsErrorEndsAsThat(t *testing.T) {
	began := make(chan struct{}, 1)
	register := func(s *Server) {
		Handle(s, "Wait", func(ctx context.Context, how string) (int, error) {
			if began <- struct{}{}; how == "a guess" {
				return 0, context.DeadlineExceeded // of another context, not of this call's
			}
			<-ctx.Done()
			if how == "a reason" {
				return 0, Fail("late", nil, "it took too long: %w", ctx.Err())
			}
			return 0, fmt.Errorf("waited: %w", ctx.Err())
		}, MethodOptions{Timeout: 300 * time.Millisecond})
	}
	both(t, ServerOptions{}, register, func(t *testing.T, c Caller) {
		ask := func(how string) error {
			_, err := Call[int](soon(t), c, "Wait", how)
			<-began
			return err
		}
		if err := ask(""); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, Executed) || !strings.Contains(err.Error(), "waited: ") {
			t.Errorf("the method's time is over: %v", err)
		}
		if err := ask("a reason"); !errors.Is(err, Failed) || !errors.Is(err, Reason("late")) {
			t.Errorf("a reason of its own: %v", err)
		}
		if err := ask("a guess"); !errors.Is(err, Failed) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error of another context: %v", err)
		}
		ctx, cancel := context.WithCancel(soon(t))
		f := Spawn[int](ctx, c, "Wait", "")
		<-began
		cancel()
		if _, err := f.Get(soon(t)); !errors.Is(err, context.Canceled) || errors.Is(err, NotExecuted) {
			t.Errorf("its caller has gone: %v", err)
		}
	})
}

// Arith is net/rpc's example.
type Arith struct{ calls atomic.Int32 }

// Operands are those of its methods.
type Operands struct{ A, B int }

// Divide divides.
func (a *Arith) Divide(o Operands, quotient *int) error {
	a.calls.Add(1)
	if o.B == 0 {
		return errors.New("divide by zero")
	}
	*quotient = o.A / o.B
	return nil
}

func TestS3_38_MethodsOfNetRPCAreRegisteredUnchanged(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) {
		if err := s.Register(new(Arith), ""); err != nil {
			t.Fatal(err)
		}
	}, func(t *testing.T, c Caller) {
		got, err := Call[int](soon(t), c, "Arith.Divide", Operands{42, 6})
		if err != nil || got != 7 {
			t.Errorf("%d, %v", got, err)
		}
		if _, err = Call[int](soon(t), c, "Arith.Divide", Operands{1, 0}); !errors.Is(err, Failed) || !strings.Contains(err.Error(), "divide by zero") {
			t.Error(err)
		}
	})
}

func TestS2_21_CallsThatAreSpawnedRunSideBySide(t *testing.T) {
	const n = 100
	both(t, ServerOptions{}, func(s *Server) {
		var mu sync.Mutex
		running, all := 0, make(chan struct{}) // is closed when n run at once; before, none ends
		Handle(s, "Meet", func(ctx context.Context, i int) (int, error) {
			mu.Lock()
			met := all
			if running++; running%n == 0 {
				close(all)
				all = make(chan struct{})
			}
			mu.Unlock()
			select {
			case <-met:
				return i, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
	}, func(t *testing.T, c Caller) {
		g := NewGroup(soon(t), GroupOptions{})
		var futures []*Future[int]
		for i := range n {
			futures = append(futures, SpawnIn[int](g, c, "Meet", i))
		}
		if err := g.Sync(); err != nil {
			t.Fatal(err)
		}
		for i, f := range futures {
			if got, err := f.Get(t.Context()); got != i || err != nil {
				t.Errorf("%d: %d, %v", i, got, err)
			}
		}
	})
}

func TestTheFirstResultOfAGroupEndsTheOthers(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Fail", func(context.Context, int) (int, error) { return 0, errors.New("no") })
		Handle(s, "Wait", func(ctx context.Context, _ int) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
		Handle(s, "Echo", func(_ context.Context, n int) (int, error) { return n, nil })
	}, func(t *testing.T, c Caller) {
		g := NewGroup(soon(t), GroupOptions{First: true})
		SpawnIn[int](g, c, "Wait", 1)
		SpawnIn[int](g, c, "Fail", 1)
		f := SpawnIn[int](g, c, "Echo", 7)
		if err := g.Sync(); err != nil {
			t.Error(err)
		}
		if n, err := f.Get(soon(t)); n != 7 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		g = NewGroup(soon(t), GroupOptions{First: true})
		SpawnIn[int](g, c, "Fail", 1)
		SpawnIn[int](g, c, "Fail", 1)
		if err := g.Sync(); err == nil || strings.Count(err.Error(), "Failed") != 2 {
			t.Errorf("all have failed: %v", err)
		}
	})
}

func TestS3_4_WhatCannotBeMarshalledIsRefusedAtRegistration(t *testing.T) {
	s, err := NewServer(ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	type job struct{ Done chan int }
	Handle(s, "Do", func(context.Context, job) (int, error) { return 0, nil })
	l, err := s.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err == nil || !strings.Contains(err.Error(), "Done") || !strings.Contains(err.Error(), `"Do"`) {
		t.Error(err)
	}
}

// TestEchoesAreWhatWasSent: results that are in the memory of their arguments, which is used
// again, while some of the callers go away before they have theirs.
func TestEchoesAreWhatWasSent(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Tail", func(_ context.Context, in []byte) ([]byte, error) { return in[len(in)/4:], nil })
	}, func(t *testing.T, c Caller) {
		var callers sync.WaitGroup
		for k := range 8 {
			callers.Go(func() {
				var out []byte
				for n := range 60 {
					in := bytes.Repeat([]byte{byte(8*n + k)}, 4<<10<<(n%8))
					ctx, cancel := context.WithCancel(soon(t))
					if _, socket := c.(*Client); socket && n%5 == 4 {
						time.AfterFunc(time.Duration(n)*10*time.Microsecond, cancel)
					}
					err := CallInto(ctx, c, "Tail", in, &out)
					if err == nil && !bytes.Equal(out, in[len(in)/4:]) || err != nil && ctx.Err() == nil {
						t.Errorf("call %d of %d: %d bytes became %d, %v", n, k, len(in), len(out), err)
					}
					cancel()
				}
			})
		}
		callers.Wait()
	})
}
