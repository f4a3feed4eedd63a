package rpc

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// waiting registers Wait, whose calls end with their contexts and not before, Fail, and Echo. Of Wait it tells how
// many run.
func waiting(s *Server) *atomic.Int32 {
	var running atomic.Int32
	Handle(s, "Wait", func(ctx context.Context, _ int) (int, error) {
		running.Add(1)
		defer running.Add(-1)
		<-ctx.Done()
		return 0, ctx.Err()
	})
	Handle(s, "Fail", func(context.Context, int) (int, error) { return 0, errors.New("first") })
	Handle(s, "Echo", func(_ context.Context, n int) (int, error) { return n, nil })
	return &running
}

// TestTheFirstErrorOfAGroupEndsTheOthers: nothing but the group ends those that wait.
func TestTheFirstErrorOfAGroupEndsTheOthers(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) { waiting(s) }, func(t *testing.T, c Caller) {
		ctx := soon(t)
		g := NewGroup(ctx, GroupOptions{})
		others := []*Future[int]{SpawnIn[int](g, c, "Wait", 1), SpawnIn[int](g, c, "Wait", 1)}
		SpawnIn[int](g, c, "Fail", 1)
		if err := g.Sync(); err == nil || !strings.Contains(err.Error(), "first") {
			t.Error(err)
		}
		for _, f := range others {
			if _, err := f.Get(ctx); !errors.Is(err, Canceled) || ctx.Err() != nil {
				t.Errorf("the others end with %v", err)
			}
		}
	})
}

// TestAGroupOfAllGoesOn when one has failed, and tells every error.
func TestAGroupOfAllGoesOn(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) { waiting(s) }, func(t *testing.T, c Caller) {
		g := NewGroup(soon(t), GroupOptions{All: true})
		failed := SpawnIn[int](g, c, "Fail", 1)
		<-failed.Done()
		echo := SpawnIn[int](g, c, "Echo", 7)
		SpawnIn[int](g, c, "Fail", 1)
		if err := g.Sync(); err == nil || strings.Count(err.Error(), "first") != 2 {
			t.Errorf("two have failed: %v", err)
		}
		if n, err := echo.Get(soon(t)); n != 7 || err != nil {
			t.Errorf("after a failure: %d, %v", n, err)
		}
	})
}

// TestAGroupHasNoMoreUnderWayThanItsLimit: who spawns another one waits.
func TestAGroupHasNoMoreUnderWayThanItsLimit(t *testing.T) {
	const limit, calls = 3, 30
	var running, most atomic.Int32
	var mu sync.Mutex
	met, all := 0, make(chan struct{})
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Meet", func(context.Context, int) (int, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				continue
			}
			mu.Lock()
			mine := all
			if met++; met == limit { // as many as may be under way are
				close(all)
				met, all = 0, make(chan struct{})
			}
			mu.Unlock()
			<-mine
			return 0, nil
		})
	}, func(t *testing.T, c Caller) {
		most.Store(0)
		g := NewGroup(soon(t), GroupOptions{Limit: limit})
		for range calls {
			SpawnIn[int](g, c, "Meet", 0)
		}
		if err := g.Sync(); err != nil {
			t.Error(err)
		}
		if n := most.Load(); n != limit {
			t.Errorf("%d calls were under way at once, want %d", n, limit)
		}
	})
}

// TestS2_21_AParentThatReturnsEarlyLeavesNothing: its context ends, and so do the calls that it has spawned, although
// nobody waits for them.
func TestS2_21_AParentThatReturnsEarlyLeavesNothing(t *testing.T) {
	const n = 100
	var running *atomic.Int32
	both(t, ServerOptions{}, func(s *Server) { running = waiting(s) }, func(t *testing.T, c Caller) {
		var all []*Future[int]
		parent := func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			g := NewGroup(ctx, GroupOptions{})
			for range n {
				all = append(all, Spawn[int](ctx, c, "Wait", 0), SpawnIn[int](g, c, "Wait", 0))
			}
			for running.Load() < 2*n {
				if _, err := Call[int](soon(t), c, "Echo", 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		parent()
		for _, f := range all {
			if _, err := f.Get(soon(t)); !errors.Is(err, Canceled) {
				t.Fatal(err)
			}
		}
		for ctx := soon(t); running.Load() > 0; {
			if _, err := Call[int](ctx, c, "Echo", 0); err != nil {
				t.Fatalf("%d run on: %v", running.Load(), err)
			}
		}
		if c, over := c.(*Client); over && c.Counts().Open != 0 {
			t.Errorf("%d calls are open", c.Counts().Open)
		}
	})
}
