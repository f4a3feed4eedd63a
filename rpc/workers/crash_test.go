package workers_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
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

// many is how many calls a row asks for.
func many(n int) int {
	if testing.Short() {
		return n / 20
	}
	return n
}

// TestS2_3_WithRetryEveryCallSucceeds is S2.3: a callee that crashes once in 40 calls.
func TestS2_3_WithRetryEveryCallSucceeds(t *testing.T) {
	r := newRig(t, setting{
		workers: workers.Options{Workers: 2, Spares: 2},
		server:  server.Options{Domain: session.DomainOptions{Runs: 12, Strikes: 12}},
	})
	n := many(10_000)
	inParallel(4, n, func(i int) {
		args := strconv.Itoa(i)
		if u := r.call("snprintf", args, idempotent); u.Outcome.Code != session.OK || string(u.Reply) != "The answer is "+args {
			t.Errorf("call %d: %+v, %q: %s", i, u.Outcome, u.Reply, u.Text)
		}
	})
	s := r.pool.Status()
	if runs := len(r.ran()); uint64(runs) != uint64(n)+s.Crashed || s.Crashed == 0 {
		t.Errorf("%d runs of %d calls with %d crashes", runs, n, s.Crashed)
	}
	t.Logf("%d calls, %d crashes, %d workers were started", n, s.Crashed, s.Starts)
}

// TestS2_2_WithoutRetryACrashIsAnOutcome is S2.2.
func TestS2_2_WithoutRetryACrashIsAnOutcome(t *testing.T) {
	r := newRig(t, setting{workers: workers.Options{Workers: 2, Spares: 2}})
	n := many(10_000)
	var mu sync.Mutex
	crashed := 0
	inParallel(4, n, func(i int) {
		u := r.call("snprintf", strconv.Itoa(i))
		if u.Outcome.Code == session.OK {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		crashed++
		if rep := report(t, &u); rep.Cause != crash.Signal || rep.Signal != int(unix.SIGSEGV) || rep.Calls != 1 {
			t.Errorf("call %d: %+v", i, rep)
		}
	})
	s := r.pool.Status()
	if runs := r.ran(); len(runs) != n || uint64(crashed) != s.Crashed || crashed == 0 || s.Ends[crash.Signal] != s.Crashed {
		t.Errorf("%d runs of %d calls; %d callers heard of %d crashes: %v", len(runs), n, crashed, s.Crashed, s.Ends)
	}
	r.works()
	t.Logf("%d calls, %d crashes", n, crashed)
}

func inParallel(callers, n int, do func(i int)) {
	var wg sync.WaitGroup
	for k := range callers {
		wg.Go(func() {
			for i := k; i < n; i += callers {
				do(i)
			}
		})
	}
	wg.Wait()
}

// TestS0_9_EveryWayToDieHasItsCause is S0.9, and what a caller is told of it. Where the
// worker does not die, it is killed for its time.
func TestS0_9_EveryWayToDieHasItsCause(t *testing.T) {
	for way, want := range map[string]struct {
		cause  crash.Cause
		signal unix.Signal
		status int
		text   string // in the error's
		stack  string // in the report's
		within bool   // it does not end by itself
	}{
		"segv":      {cause: crash.Signal, signal: unix.SIGSEGV, status: -1},
		"abort":     {cause: crash.Signal, signal: unix.SIGABRT, status: -1},
		"ill":       {cause: crash.Signal, signal: unix.SIGILL, status: -1},
		"exit 0":    {cause: crash.Exit, status: 0},
		"exit 7":    {cause: crash.Exit, status: 7},
		"_exit":     {cause: crash.Exit, status: 3},
		"panic":     {cause: crash.Exit, status: 2, text: "panic: oh no", stack: "goroutine "},
		"overflow":  {cause: crash.Exit, status: 2, text: "stack overflow", stack: "goroutine "},
		"deadlock":  {cause: crash.Timeout, signal: unix.SIGKILL, status: -1, within: true},
		"stop":      {cause: crash.Timeout, signal: unix.SIGKILL, status: -1, within: true},
		"deaf term": {cause: crash.Timeout, signal: unix.SIGKILL, status: -1, within: true},
		"garbage":   {cause: crash.Protocol, signal: unix.SIGKILL, status: -1, text: "call channel: "},
		"close":     {cause: crash.Protocol, signal: unix.SIGKILL, status: -1, text: "peer has closed the connection"},
		"leak":      {cause: crash.Exit, status: 2, text: "too many open files", stack: "goroutine "},
		"memory":    {cause: crash.Exit, status: 2, text: "out of memory"},
	} {
		t.Run(way, func(t *testing.T) {
			s := setting{workers: workers.Options{Grace: 50 * time.Millisecond}}
			if want.within {
				s.methods = []server.Method{{Name: "die " + way, Timeout: 300 * time.Millisecond}, {Name: "echo"}}
			}
			switch {
			case way == "garbage" || way == "close":
				s.command.Env, s.workers.Stop = []string{"STAYS=1"}, 50*time.Millisecond
			case way == "leak":
				s.command.Limits = []direct.Limit{{Resource: unix.RLIMIT_NOFILE, Value: 64}}
			case way == "memory" && raceEnabled:
				t.Skip("the race detector needs its address space")
			case way == "memory":
				s.command.Limits = []direct.Limit{{Resource: unix.RLIMIT_AS, Value: 3 << 30}}
			}
			r := newRig(t, s)
			r.works()
			u := r.call("die "+way, "x")
			rep := report(t, &u)
			if rep.Cause != want.cause || rep.Signal != int(want.signal) || rep.Status != want.status || rep.Calls != 1 {
				t.Errorf("%+v: %s", rep, rep.Output)
			}
			if !strings.Contains(u.Text, want.text) || !strings.Contains(string(rep.Stack), want.stack) {
				t.Errorf("text %q, stack %.100q", u.Text, rep.Stack)
			}
			if rep.MaxRSS == 0 || rep.Lived <= 0 || rep.PID == 0 || time.Since(rep.Time) > time.Minute {
				t.Errorf("%+v", rep)
			}
			if len(r.ran()) != 1 {
				t.Errorf("it ran %d times", len(r.ran()))
			}
			r.works()
		})
	}
}

// TestAPoisonousCallIsRefused is E.6: what has killed three workers kills no fourth,
// until somebody pardons it.
func TestAPoisonousCallIsRefused(t *testing.T) {
	r := newRig(t, setting{})
	for range 3 {
		u := r.call("die segv", "bad")
		report(t, &u)
	}
	for range 5 {
		if u := r.call("die segv", "bad"); u.Outcome.Code != session.Poisoned || u.Outcome.Execution != session.NotExecuted {
			t.Fatalf("%+v", u.Outcome)
		}
	}
	if n := len(r.ran()); n != 3 {
		t.Errorf("it ran %d times", n)
	}
	u := r.call("die segv", "as bad")
	report(t, &u)
	r.core.Pardon("die segv", []byte("bad"))
	u = r.call("die segv", "bad")
	report(t, &u)
}

// TestS2_3_AMethodSaysHowOftenItIsRunOnACrash: a method's own number counts, not the table's.
func TestS2_3_AMethodSaysHowOftenItIsRunOnACrash(t *testing.T) {
	r := newRig(t, setting{methods: []server.Method{{Name: "die segv", Runs: 2}, {Name: "die abort", Runs: 1}}})
	for method, want := range map[string]int{"die segv": 2, "die abort": 1} {
		before := len(r.ran())
		u := r.call(method, "x", idempotent)
		report(t, &u)
		if n := len(r.ran()) - before; n != want {
			t.Errorf("%s ran %d times, want %d", method, n, want)
		}
	}
}

// TestLongArgumentsArePoisonToTheLastByte: others that are the same at both ends are not.
func TestLongArgumentsArePoisonToTheLastByte(t *testing.T) {
	r := newRig(t, setting{server: server.Options{Apart: true}})
	bad := strings.Repeat("x", 40<<10)
	for range 3 {
		u := r.call("die segv", bad)
		report(t, &u)
	}
	if u := r.call("die segv", bad); u.Outcome.Code != session.Poisoned {
		t.Fatalf("%+v", u.Outcome)
	}
	u := r.call("die segv", bad[:20<<10]+"y"+bad[20<<10+1:])
	report(t, &u)
	r.core.Pardon("die segv", []byte(bad))
	u = r.call("die segv", bad)
	report(t, &u)
}

// TestAPoisonousIdempotentCallKillsThreeWorkersAtMost: a retry is a strike, too.
func TestAPoisonousIdempotentCallKillsThreeWorkersAtMost(t *testing.T) {
	r := newRig(t, setting{server: server.Options{Domain: session.DomainOptions{Runs: 100}}})
	u := r.call("die segv", "bad", idempotent)
	report(t, &u)
	if n := len(r.ran()); n != 3 {
		t.Errorf("it ran %d times", n)
	}
	if u := r.call("die segv", "bad", idempotent); u.Outcome.Code != session.Poisoned {
		t.Errorf("%+v", u.Outcome)
	}
}

// TestBystandersAreNotStruck: of several calls in a worker nobody knows which killed it.
func TestBystandersAreNotStruck(t *testing.T) {
	r := newRig(t, setting{workers: workers.Options{Concurrency: 2}})
	for i := range 4 {
		var wg sync.WaitGroup
		wg.Go(func() {
			u := r.call("wait", "bystander")
			if rep := report(t, &u); rep.Calls != 2 {
				t.Errorf("%+v", rep)
			}
		})
		eventually(t, "the bystander runs", func() bool { return len(r.ran()) == 2*i+1 })
		u := r.call("die exit 7", "killer")
		report(t, &u)
		wg.Wait()
	}
}

// TestS0_15_AThousandCrashesInARow is S0.15's: then the next call works.
func TestS0_15_AThousandCrashesInARow(t *testing.T) {
	r := newRig(t, setting{})
	n := many(1000)
	for i := range n {
		u := r.call("die exit 7", strconv.Itoa(i))
		if rep := report(t, &u); rep.Status != 7 {
			t.Fatalf("%+v", rep)
		}
	}
	r.works()
	if s := r.pool.Status(); s.Ends[crash.Exit] != uint64(n) || s.CrashLoop {
		t.Errorf("%+v", s)
	}
}

// TestNothingIsLeftBehind: descriptors, goroutines, processes.
func TestNothingIsLeftBehind(t *testing.T) {
	r := newRig(t, setting{})
	r.works()
	settled := func() bool {
		s := r.pool.Status()
		return s.States[0] != workers.Starting && s.States[1] != workers.Starting && s.States[0] != workers.Terminating && s.States[1] != workers.Terminating
	}
	eventually(t, "spare is there", settled)
	count := func() (fds, goroutines, below int) {
		list, _ := os.ReadDir("/proc/self/fd")
		return len(list), runtime.NumGoroutine(), len(children(os.Getpid()))
	}
	fds, goroutines, below := count()
	for i := range many(400) {
		u := r.call("die exit 7", strconv.Itoa(i))
		report(t, &u)
	}
	eventually(t, "it is as before", func() bool {
		f, g, b := count()
		return settled() && f <= fds && g <= goroutines && b <= below
	})
}

// TestWhatHasNotLeftRunsElsewhere is C.7.3's "worker before hand-over". A worker is
// stopped, and gets more calls than its window takes. When it dies, those of which not a
// byte has left run elsewhere, once, and nobody notices; the others may have run.
func TestWhatHasNotLeftRunsElsewhere(t *testing.T) {
	const n = 200
	r := newRig(t, setting{workers: workers.Options{Concurrency: n + 1}})
	pid, err := strconv.Atoi(string(r.call("pid", "").Reply))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.call("die stop", "stopped") })
	eventually(t, "it has stopped", func() bool { s, _ := statOf(pid); return s != nil && s[0] == "T" })
	calls := make([]client.Call, n)
	for i := range calls {
		wg.Go(func() { calls[i] = r.call("patient", fmt.Sprintf("call-%d-%s", i, strings.Repeat("x", 7<<10))) })
	}
	eventually(t, "all are given to it", func() bool { return r.core.Counts().Running == n+1 })
	_ = unix.Kill(pid, unix.SIGKILL)
	wg.Wait()
	runs := map[string]int{}
	for _, args := range r.ran() {
		runs[args]++
	}
	moved := 0
	for i, u := range calls {
		switch {
		case u.Outcome.Code == session.OK:
			moved++
			if runs[string(u.Args)] != 1 {
				t.Errorf("call %d ran %d times", i, runs[string(u.Args)])
			}
		case u.Outcome.Code != session.Crashed || u.Outcome.Execution != session.Indeterminate || runs[string(u.Args)] != 0:
			t.Errorf("call %d: %+v, ran %d times", i, u.Outcome, runs[string(u.Args)])
		}
	}
	if s := r.pool.Status(); moved == 0 || s.Moved < uint64(moved) || s.Crashed != uint64(n+1-moved) {
		t.Errorf("%d of %d calls ran elsewhere; %+v", moved, n, s)
	}
	t.Logf("%d of %d calls ran elsewhere", moved, n)
}

// TestS2_4_TheCallerIsNotTouched: what a callee does to its memory, its descriptors or
// the arguments it was given does not change a byte here.
func TestS2_4_TheCallerIsNotTouched(t *testing.T) {
	r := newRig(t, setting{})
	args := strings.Repeat("0123456789abcdef", 64<<10)
	mine := []byte(args)
	u := client.Call{Method: "die segv", Args: mine}
	r.client.Do(t.Context(), &u)
	if rep := report(t, &u); rep.Signal != int(unix.SIGSEGV) {
		t.Errorf("%+v", rep)
	}
	if string(mine) != args {
		t.Error("the arguments have changed")
	}
	list := r.call("fds", "")
	for line := range strings.Lines(string(list.Reply)) {
		if !strings.Contains(line, "/dev/null") && !strings.Contains(line, "pipe:") && !strings.Contains(line, "socket:") && !strings.Contains(line, "anon_inode:") && !strings.Contains(line, "/proc/") && !strings.Contains(line, "/sys/") && strings.Count(line, " ") == 1 && !strings.HasSuffix(line, " \n") {
			t.Errorf("a worker has descriptor %s", line)
		}
	}
	if n := strings.Count(string(list.Reply), "socket:"); n != 1 {
		t.Errorf("a worker has %d sockets:\n%s", n, list.Reply)
	}
}

// TestS3_30_NestedCallsDoNotWaitForThemselves is S3.30: A calls B, B calls A, each with
// one worker and one slot.
func TestS3_30_NestedCallsDoNotWaitForThemselves(t *testing.T) {
	a, b := newRig(t, setting{}), newRig(t, setting{})
	path := fmt.Sprintf("%s %s %s %s end", b.path, a.path, b.path, a.path)
	if u := a.call("nested", path); u.Outcome.Code != session.OK || !strings.HasPrefix(string(u.Reply), "end") {
		t.Errorf("%+v %q: %s", u.Outcome, u.Reply, u.Text)
	}
	a.works()
	b.works()
	for _, r := range []*rig{a, b} { // the slots are as many as before
		start := time.Now()
		inParallel(3, 3, func(int) { r.call("patient", "50") })
		if d := time.Since(start); d < 150*time.Millisecond {
			t.Errorf("three calls of 50 ms took %v in one slot", d)
		}
	}
}
