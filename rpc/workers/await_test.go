package workers_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
)

// alwaysQuick is a server that takes every method for quick, so that slow machines do not matter.
var alwaysQuick = server.Options{QuickApart: time.Hour}

// untilAwaited calls a method that is quick until the reader of the client's connection has waited for
// the worker, instead of the worker's.
func untilAwaited(t *testing.T, r *rig) {
	t.Helper()
	had := r.pool.Status().Awaited
	for end := time.Now().Add(20 * time.Second); r.pool.Status().Awaited == had; {
		if u := r.call("patient", "0"); u.Outcome.Code != session.OK {
			t.Fatalf("%+v: %s", u.Outcome, u.Text)
		}
		if time.Now().After(end) {
			t.Fatal("no reader waits for a worker")
		}
	}
}

// TestWhoWaitsForAWorkerKeepsNobodyWaiting: the caller's reader waits for the worker
// of a method that was quick, and is not this time. Another call by the same connection is
// taken meanwhile, to the same worker, and is answered; and the first call can be cancelled.
func TestWhoWaitsForAWorkerKeepsNobodyWaiting(t *testing.T) {
	r := newRig(t, setting{workers: workers.Options{Concurrency: 2, Spares: -1}, server: alwaysQuick})
	for i := range 10 {
		untilAwaited(t, r)
		ctx, cancel := context.WithCancel(t.Context())
		long := fmt.Sprint(3_600_000 + i) // ms
		u := client.Call{Method: "patient", Args: []byte(long)}
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.client.Do(ctx, &u)
		}()
		eventually(t, "the worker has begun", func() bool { return slices.Contains(r.ran(), long) })
		if other := r.call("patient", "0"); other.Outcome.Code != session.OK {
			t.Errorf("%+v: %s", other.Outcome, other.Text)
		}
		select {
		case <-done:
			t.Errorf("the first is over: %+v: %s", u.Outcome, u.Text)
		default:
		}
		cancel()
		<-done
		eventually(t, "the worker is free", func() bool { return r.pool.Status().States[0] == workers.Ready })
	}
	if s := r.pool.Status(); s.Starts != 1 {
		t.Errorf("%d workers, want one: %+v", s.Starts, s)
	}
}

// TestWhoWaitsForAWorkerHearsOfItsDeath, and waits for the next one as ever.
func TestWhoWaitsForAWorkerHearsOfItsDeath(t *testing.T) {
	r := newRig(t, setting{server: alwaysQuick})
	for i := range 10 {
		untilAwaited(t, r)
		u := r.call("patient", fmt.Sprint("die ", i))
		rep := report(t, &u)
		if rep.Signal == 0 || rep.Calls != 1 {
			t.Errorf("death %d: %+v", i, rep)
		}
	}
}

// TestCallsThatWaitForAWorkerFollowOneAnother: a call that was in the queue is sent when the one before has been
// answered, by whoever reads that, and somebody reads its answer at once.
func TestCallsThatWaitForAWorkerFollowOneAnother(t *testing.T) {
	const calls, callers = 25, 4
	r := newRig(t, setting{workers: workers.Options{Spares: -1}, server: alwaysQuick})
	untilAwaited(t, r)
	quick, floor := time.Hour, time.Hour // the floor is as many calls of one caller
	late := func() bool { return quick > floor+calls*callers*time.Millisecond*9/10 }
	for i := 0; i < 50 && (i == 0 || late()); i++ {
		begin := time.Now()
		for range calls * callers {
			r.call("echo", "x")
		}
		floor = min(floor, time.Since(begin))
		start := time.Now()
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				for range calls {
					if u := r.call("echo", "x"); u.Outcome.Code != session.OK {
						t.Errorf("%+v: %s", u.Outcome, u.Text)
					}
				}
			})
		}
		all.Wait()
		quick = min(quick, time.Since(start))
	}
	if late() {
		t.Errorf("%d calls of %d callers take %v, of one %v", calls*callers, callers, quick, floor)
	}
}

// TestACallThatRunsAgainWaitsForNoReader: what a reader has brought may run again when its worker has died. That is no
// turn of that reader, which sleeps until something comes, a ping at the latest.
func TestACallThatRunsAgainWaitsForNoReader(t *testing.T) {
	const ping = 10 * time.Second // after so long
	r := newRig(t, setting{server: alwaysQuick})
	quick := time.Hour
	for i := 0; i < 3 && quick > ping/2; i++ {
		untilAwaited(t, r)
		start := time.Now()
		u := r.call("patient", fmt.Sprint("die ", i), idempotent)
		quick = min(quick, time.Since(start))
		report(t, &u)
	}
	if quick > ping/2 {
		t.Errorf("three runs take %v", quick)
	}
}
