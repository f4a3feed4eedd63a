package rpc

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// TestC9_WhatIsTooLateDoesNotRun: the context has ended before the call is made, be it within the process.
func TestC9_WhatIsTooLateDoesNotRun(t *testing.T) {
	var runs atomic.Int32
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Count", func(context.Context, int) (int, error) { return int(runs.Add(1)), nil })
	}, func(t *testing.T, c Caller) {
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		for _, x := range []struct {
			ctx  context.Context
			code Code
		}{{gone, Canceled}, {late, DeadlineExceeded}} {
			if _, err := Call[int](x.ctx, c, "Count", 0); !errors.Is(err, x.code) || !errors.Is(err, NotExecuted) {
				t.Errorf("%v: %v", x.code, err)
			}
			if _, err := Spawn[int](x.ctx, c, "Count", 0).Get(soon(t)); !errors.Is(err, x.code) || !errors.Is(err, NotExecuted) {
				t.Errorf("%v, spawned: %v", x.code, err)
			}
		}
		if n := runs.Load(); n != 0 {
			t.Errorf("%d runs", n)
		}
	})
}

// TestC9_WhoHeedsTheEndHasALittleTime: a handler that hears that its caller goes, and says so at once, is heard, as
// it would be in another process.
func TestC9_WhoHeedsTheEndHasALittleTime(t *testing.T) {
	began := make(chan struct{}, 1)
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Heed", func(ctx context.Context, _ int) (int, error) {
			began <- struct{}{}
			<-ctx.Done()
			time.Sleep(time.Millisecond) // it has something to put away
			return 0, ctx.Err()
		})
	}, func(t *testing.T, c Caller) {
		ran := 0
		for range 20 {
			ctx, cancel := context.WithCancel(soon(t))
			f := Spawn[int](ctx, c, "Heed", 0)
			<-began
			cancel()
			_, err := f.Get(soon(t))
			if !errors.Is(err, Canceled) || errors.Is(err, NotExecuted) {
				t.Errorf("%v", err)
			}
			if errors.Is(err, Executed) {
				ran++
			}
		}
		if ran < 15 { // of some the machine may have been late
			t.Errorf("of 20 calls that have said how they end, %d are known to have run", ran)
		}
	})
}

// TestC19_TimeIsBoundedWithinTheProcess as it is for others: by the method's time and by the server's.
func TestC19_TimeIsBoundedWithinTheProcess(t *testing.T) {
	for name, x := range map[string]struct {
		server ServerOptions
		method MethodOptions
	}{
		"the method's":        {ServerOptions{}, MethodOptions{Timeout: 10 * time.Millisecond}},
		"the server's":        {ServerOptions{MaxTimeout: 10 * time.Millisecond}, MethodOptions{}},
		"the shorter of both": {ServerOptions{MaxTimeout: time.Hour}, MethodOptions{Timeout: 10 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, x.server, func(s *Server) {
				Handle(s, "Wait", func(ctx context.Context, _ int) (int, error) {
					<-ctx.Done()
					return 0, ctx.Err()
				}, x.method)
			}, func(t *testing.T, c Caller) {
				for _, ctx := range []context.Context{soon(t), context.Background()} {
					if _, err := Spawn[int](ctx, c, "Wait", 0).Get(soon(t)); !errors.Is(err, DeadlineExceeded) || !errors.Is(err, Executed) {
						t.Error(err)
					}
				}
			})
		})
	}
}

// TestC24_CallsWithinTheProcessAreCountedAsTheyEnd: by the same codes as their callers see.
func TestC24_CallsWithinTheProcessAreCountedAsTheyEnd(t *testing.T) {
	s, err := NewServer(ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	release := make(chan struct{})
	Handle(s, "Do", func(ctx context.Context, what string) (int, error) {
		switch what {
		case "fail":
			return 0, errors.New("as asked")
		case "panic":
			panic("oh")
		case "heed":
			<-ctx.Done()
			return 0, ctx.Err()
		case "deaf":
			<-release
		}
		return 1, nil
	})
	call := func(ctx context.Context, what string) {
		_, _ = Call[int](ctx, s.Local(), "Do", what)
	}
	for _, what := range []string{"", "", "fail", "panic"} {
		call(soon(t), what)
		call(context.Background(), what)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	call(gone, "")
	brief, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	call(brief, "heed")
	brief, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	call(brief, "deaf")
	close(release)
	if err := s.core.Drain(soon(t)); err != nil {
		t.Fatal(err)
	}
	var want server.Ends
	want[session.OK][session.Executed] = 4
	want[session.Failed][session.Executed] = 4
	want[session.Canceled][session.NotExecuted] = 1
	want[session.DeadlineExceeded][session.Executed] = 1
	want[session.OK][session.Executed]++ // the deaf one, that nobody waits for
	all := s.core.Tallies()
	if all[0].Ends[server.Direct] != want {
		t.Errorf("counted are %v", all[0].Ends[server.Direct])
	}
	runs, _ := all[0].Took.Cumulative()
	if runs != 10 {
		t.Errorf("%d runs are timed", runs)
	}
}

// TestC11_ALaneHasItsOrderEverywhere: calls of a lane start as they were made, and do not overlap; one that was given up
// while it ran is waited for. Those of other lanes, and of none, do not wait.
func TestC11_ALaneHasItsOrderEverywhere(t *testing.T) {
	const calls = 100
	var running, overlaps atomic.Int32
	var mu sync.Mutex
	var order []int
	deaf, entered := make(chan struct{}, 1), make(chan struct{}, 1)
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Next", func(_ context.Context, i int) (int, error) {
			if running.Add(1) > 1 {
				overlaps.Add(1)
			}
			defer running.Add(-1)
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			time.Sleep(50 * time.Microsecond)
			return i, nil
		})
		Handle(s, "Deaf", func(context.Context, int) (int, error) {
			entered <- struct{}{}
			<-deaf
			return 0, nil
		})
	}, func(t *testing.T, c Caller) {
		mu.Lock()
		order = nil
		mu.Unlock()
		overlaps.Store(0)
		futures := make([]*Future[int], calls)
		for i := range futures {
			futures[i] = Spawn[int](soon(t), c, "Next", i, Lane(1))
		}
		for i, f := range futures {
			if n, err := f.Get(soon(t)); n != i || err != nil {
				t.Fatalf("call %d: %d, %v", i, n, err)
			}
		}
		mu.Lock()
		if !slices.IsSorted(order) || len(order) != calls || overlaps.Load() > 0 {
			t.Errorf("%d overlap, they ran as %v", overlaps.Load(), order)
		}
		mu.Unlock()

		ctx, giveUp := context.WithCancel(soon(t))
		given := Spawn[int](ctx, c, "Deaf", 0, Lane(1))
		<-entered
		giveUp()
		if _, err := given.Get(soon(t)); !errors.Is(err, Indeterminate) {
			t.Errorf("given up: %v", err)
		}
		brief, cancel := context.WithTimeout(soon(t), 20*time.Millisecond)
		defer cancel()
		if _, err := Call[int](brief, c, "Next", 0, Lane(1)); !errors.Is(err, DeadlineExceeded) || !errors.Is(err, NotExecuted) {
			t.Errorf("behind what was given up, and runs: %v", err)
		}
		next := Spawn[int](soon(t), c, "Next", 7, Lane(1))
		for _, o := range []CallOption{Lane(2), Interactive} {
			if _, err := Call[int](soon(t), c, "Next", 1, o); err != nil {
				t.Errorf("in no lane with it: %v", err)
			}
		}
		select {
		case <-next.Done():
			t.Error("it did not wait")
		default:
		}
		deaf <- struct{}{}
		if n, err := next.Get(soon(t)); n != 7 || err != nil {
			t.Errorf("when that has ended: %d, %v", n, err)
		}
	})
}

// TestC27_AHandlerEndsItsGoroutineEverywhere: its call ends as if it had panicked, and its slot is free.
func TestC27_AHandlerEndsItsGoroutineEverywhere(t *testing.T) {
	both(t, ServerOptions{Limit: 1}, func(s *Server) {
		Handle(s, "Exit", func(_ context.Context, exit bool) (int, error) {
			if exit {
				runtime.Goexit()
			}
			return 7, nil
		})
	}, func(t *testing.T, c Caller) {
		if _, err := Spawn[int](soon(t), c, "Exit", true, Lane(1)).Get(soon(t)); !errors.Is(err, Failed) || !errors.Is(err, Executed) {
			t.Errorf("it ends with %v", err)
		}
		if n, err := Call[int](soon(t), c, "Exit", false, Lane(1)); n != 7 || err != nil {
			t.Errorf("the next: %d, %v", n, err)
		}
	})
}

// TestC19_OneWayCallsAreNotWaitedFor within the process either.
func TestC19_OneWayCallsAreNotWaitedFor(t *testing.T) {
	ran, goOn := make(chan int, 1), make(chan struct{})
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Slow", func(_ context.Context, n int) (int, error) {
			<-goOn
			ran <- n
			return 0, errors.New("nobody hears that")
		})
	}, func(t *testing.T, c Caller) {
		returned := make(chan error, 1)
		go func() { returned <- CallInto(soon(t), c, "Slow", 7, nil, OneWay) }()
		select {
		case err := <-returned:
			if err != nil {
				t.Error(err)
			}
			goOn <- struct{}{}
		case <-soon(t).Done():
			t.Error("its caller waits")
			goOn <- struct{}{}
			<-returned
		}
		if n := <-ran; n != 7 {
			t.Errorf("it had %d", n)
		}
	})
}
