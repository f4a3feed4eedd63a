package workers_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
	"rpcpool.dev/rpc/workers/direct"
)

func TestAWorkerHearsOfACancel(t *testing.T) {
	r := newRig(t, setting{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		eventually(t, "it runs", func() bool { return len(r.ran()) == 1 })
		cancel()
	}()
	u := client.Call{Method: "wait", Args: []byte("x")}
	r.client.Do(ctx, &u)
	if u.Outcome.Code != session.Failed || u.Outcome.Execution != session.Executed || u.Text != "interrupted: context canceled" {
		t.Errorf("%+v: %s", u.Outcome, u.Text)
	}
	if s := r.pool.Status(); s.Starts > 2 {
		t.Errorf("%d workers were started", s.Starts)
	}
}

// A worker that is stopped, or has to wait for a processor, reads a call long after that was
// written: it is no fresh start of the time that was left.
func TestACallThatItsWorkerReadsTooLateDoesNotRun(t *testing.T) {
	r := newRig(t, setting{workers: workers.Options{Spares: -1, Grace: time.Minute}})
	u := r.call("pid", "")
	pid, err := strconv.Atoi(string(u.Reply))
	if err != nil {
		t.Fatalf("%+v: %v", u.Outcome, err)
	}
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all threads are stopped", func() bool { return stopped(t, pid) })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	ended := make(chan client.Call)
	go func() {
		u := client.Call{Method: "note", Args: []byte("late")}
		r.client.Do(ctx, &u)
		ended <- u
	}()
	eventually(t, "the call is with the worker", func() bool { return r.core.Counts().Running == 1 })
	<-ctx.Done()
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	u = <-ended
	if u.Outcome.Code != session.DeadlineExceeded || u.Outcome.Execution != session.NotExecuted {
		t.Errorf("%+v: %s", u.Outcome, u.Text)
	}
	r.works()
	if all := r.ran(); len(all) > 0 {
		t.Errorf("ran after its deadline: %v", all)
	}
}

// stopped tells whether no thread of a process runs: a signal has not stopped any yet when
// kill returns.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/stat")
	if err != nil || len(threads) == 0 {
		t.Fatalf("process %d: %v", pid, err)
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(stat, []byte(") T ")) {
			return false
		}
	}
	return true
}

func TestAWorkerKnowsTheDeadline(t *testing.T) {
	r := newRig(t, setting{methods: []server.Method{{Name: "wait", Timeout: 300 * time.Millisecond}}})
	r.works()
	u := r.call("wait", "x")
	if u.Outcome.Code != session.Failed || u.Text != "interrupted: context deadline exceeded" {
		t.Errorf("%+v: %s", u.Outcome, u.Text)
	}
}

// TestF9ACallIsKilledAtItsDeadline is F9: the deadline and the grace, to 50 ms, with all
// that is below the worker.
func TestF9ACallIsKilledAtItsDeadline(t *testing.T) {
	const deadline, grace = 500 * time.Millisecond, 300 * time.Millisecond
	r := newRig(t, setting{
		workers: workers.Options{Grace: grace},
		methods: []server.Method{{Name: "family", Timeout: deadline}, {Name: "echo"}},
	})
	r.works()
	pids := filepath.Join(t.TempDir(), "pids")
	start := time.Now()
	u := r.call("family", pids)
	took := time.Since(start)
	if rep := report(t, &u); rep.Cause != crash.Timeout || rep.Signal != int(unix.SIGKILL) {
		t.Errorf("%+v", rep)
	}
	t.Logf("killed after %v, of %v", took, deadline+grace)
	if took < deadline+grace || took > deadline+grace+2*time.Second { // what is wanted is 50 ms, on a machine with nothing else to do
		t.Errorf("killed after %v, want %v", took, deadline+grace)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	family := strings.Fields(string(b))
	if len(family) != 6 {
		t.Errorf("%d descendants", len(family))
	}
	for _, word := range family {
		pid, _ := strconv.Atoi(word)
		eventually(t, "descendant is gone", func() bool { return !alive(pid) })
	}
	t.Logf("%d descendants gone %v after the kill", len(family), time.Since(start)-took)
	r.works()
}

func TestWhoDoesNotHeedACancelIsKilled(t *testing.T) {
	r := newRig(t, setting{workers: workers.Options{Grace: 20 * time.Millisecond}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		eventually(t, "it runs", func() bool { return len(r.ran()) == 1 })
		cancel()
	}()
	u := client.Call{Method: "deaf", Args: []byte("x"), Idempotent: true}
	r.client.Do(ctx, &u)
	if rep := report(t, &u); rep.Cause != crash.Timeout || len(r.ran()) != 1 {
		t.Errorf("%+v, ran %v", rep, r.ran())
	}
	r.works()
}

// TestAKilledCallIsNoPoison: it was the time, not the arguments.
func TestAKilledCallIsNoPoison(t *testing.T) {
	r := newRig(t, setting{
		workers: workers.Options{Grace: time.Millisecond},
		methods: []server.Method{{Name: "deaf", Timeout: 300 * time.Millisecond}},
	})
	for range 5 {
		r.works()
		u := r.call("deaf", "x")
		if rep := report(t, &u); rep.Cause != crash.Timeout {
			t.Errorf("%+v", rep)
		}
	}
}

func TestWhatMayNotBeKilledIsNot(t *testing.T) {
	r := newRig(t, setting{
		workers: workers.Options{Grace: time.Millisecond},
		methods: []server.Method{{Name: "patient", Timeout: 20 * time.Millisecond, Unkillable: true}},
	})
	r.works()
	if u := r.call("patient", "300"); u.Outcome.Code != session.OK {
		t.Errorf("%+v: %s", u.Outcome, u.Text)
	}
}

// TestACallWaitsForASlot: what has not started can be taken back, and is not run.
func TestACallWaitsForASlot(t *testing.T) {
	r := newRig(t, setting{})
	done := make(chan client.Call)
	go func() { done <- r.call("patient", "300") }()
	eventually(t, "it runs", func() bool { return len(r.ran()) == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	u := client.Call{Method: "patient", Args: []byte("1")}
	r.client.Do(ctx, &u)
	if u.Outcome.Code != session.DeadlineExceeded || u.Outcome.Execution != session.NotExecuted {
		t.Errorf("%+v", u.Outcome)
	}
	if u := <-done; u.Outcome.Code != session.OK || len(r.ran()) != 1 {
		t.Errorf("%+v, %v", u.Outcome, r.ran())
	}
}

// TestF8TheNextCallIsServedAtOnce is F8: how long it takes until a crash is seen, and
// until the next call is served, with a spare.
func TestF8TheNextCallIsServedAtOnce(t *testing.T) {
	r := newRig(t, setting{workers: workers.Options{Spares: 1}})
	var seen, next []time.Duration
	for i := range many(200) {
		r.works()
		eventually(t, "spare is there", func() bool { return slices.Contains(r.pool.Status().States, workers.Spare) })
		died := make(chan time.Time, 1)
		pid, _ := strconv.Atoi(string(r.call("pid", "").Reply))
		go func() {
			eventually(t, "it runs", func() bool { return len(r.ran()) == i+1 })
			died <- time.Now()
			_ = unix.Kill(pid, unix.SIGKILL)
		}()
		u := r.call("wait", strconv.Itoa(i))
		end := time.Now()
		if rep := report(t, &u); rep.Cause != crash.Signal || rep.Signal != int(unix.SIGKILL) {
			t.Fatalf("%+v", rep)
		}
		r.works()
		at := <-died
		seen, next = append(seen, end.Sub(at)), append(next, time.Since(at))
	}
	slices.Sort(seen)
	slices.Sort(next)
	n := len(seen)
	t.Logf("from SIGKILL to the caller's error: p50 %v, p99 %v; to the next call's result: p50 %v, p99 %v",
		seen[n/2], seen[n*99/100], next[n/2], next[n*99/100])
	t.Log("wanted, on a machine with nothing else to do: 2 ms and 10 ms")
}

// TestAWorkerThatCannotStartIsACrashLoop: the crash loop is visible.
func TestAWorkerThatCannotStartIsACrashLoop(t *testing.T) {
	r := newRig(t, setting{command: direct.Command{Env: []string{"START=fails"}}, workers: workers.Options{Spares: -1}})
	eventually(t, "crash loop", func() bool { return r.pool.Status().CrashLoop })
	s := r.pool.Status()
	if s.Starts != 5 || s.Ends[crash.StartFailed] != 5 || s.Err == nil || !strings.Contains(s.Err.Error(), "no device") ||
		!strings.HasSuffix(s.Err.Error(), ": it has not said that it is ready for calls") {
		t.Errorf("%+v", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	u := client.Call{Method: "echo"}
	if r.client.Do(ctx, &u); u.Outcome.Execution != session.NotExecuted {
		t.Errorf("%+v", u.Outcome)
	}
}
