package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/naming"
)

// callByName runs `rpcpool call` with a tracker.
func callByName(tracker string, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = execRoot(context.Background(), newRootCommand("rpcpool"), append([]string{"call", "--tracker", tracker}, args...), &out, &errs)
	return status, out.String(), errs.String()
}

// ranks waits until `rpcpool call --all` is answered by so many, and returns their ranks.
func ranks(t *testing.T, tracker, service string, n int) map[string]int {
	t.Helper()
	line := regexp.MustCompile(`(?m)^\{"rank":(\d+),"node":"([^"]+)","server":"\d+","result":"hello"\}$`)
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		status, out, errs := callByName(tracker, "--service", service, "--all", "echo", `"hello"`)
		found := map[string]int{}
		for _, m := range line.FindAllStringSubmatch(out, -1) {
			found[m[2]], _ = strconv.Atoi(m[1])
		}
		if status == exitOK && len(found) == n {
			return found
		}
		if time.Now().After(end) {
			t.Fatalf("not %d servers: status %d, %q, %q", n, status, out, errs)
		}
	}
}

// TestServersAreFoundByName: `rpcpool serve --tracker` and `rpcpool call --tracker`, by
// service, rank, server id, and all at once.
func TestServersAreFoundByName(t *testing.T) {
	tracker, _ := startTracker(t, "--first")
	for i := range 3 {
		startCallServer(t, "--tracker", tracker, "--service", "library", "--name", fmt.Sprintf("node-%d", i), "--server-id", strconv.Itoa(10+i))
	}
	if got := ranks(t, tracker, "library", 3); got["node-0"] != 0 || got["node-1"] != 1 || got["node-2"] != 2 {
		t.Errorf("ranks %v", got)
	}
	for _, c := range []struct {
		name, args     string
		status         int
		stdout, stderr string
	}{
		{"any server", "--service library echo 1", exitOK, "1\n", ""},
		{"the one with a rank", "--service library --rank 2 echo 1", exitOK, "1\n", ""},
		{"the one with an id", "--service library --server-id 11 echo 1", exitOK, "1\n", ""},
		{"a rank that nobody has", "--service library --rank 3 echo 1", exitFailed, "", "rpcpool: no such server: none of the 3 nodes has rank 3\n"},
		{"an id that nobody has", "--service library --server-id 13 echo 1", exitFailed, "", `rpcpool: no such server: "library" has none with id 13` + "\n"},
		{"a service that nobody has", "--service nothing echo 1", exitFailed, "", "rpcpool: tracker " + tracker + `: no server of service "nothing"` + "\n"},
		{"a rank that cannot be", "--service library --rank 65536 echo 1", exitUsage, "", "rpcpool: --rank: 65536 is not between 0 and 65535\n"},
		{"one that fails on all", "--service library --all sleep true", exitFailed, "", "rpcpool: 3 of 3 calls failed\n"},
		{"two ways to say where", "--service library --server x echo", exitUsage, "", ""},
		{"a rank of no service", "--server x --rank 1 echo", exitUsage, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := callByName(tracker, strings.Fields(c.args)...)
			if status != c.status || c.stdout != "" && stdout != c.stdout || c.stderr != "" && stderr != c.stderr || strings.Count(stderr, "\n") > 1 {
				t.Errorf("status %d, %q, %q; want %d, %q, %q", status, stdout, stderr, c.status, c.stdout, c.stderr)
			}
		})
	}
}

// TestCallsGoOnWhileServersComeAndGo: under load one server joins, one is told to stop,
// and one is killed (-9) and comes back at another address, with its journal. No call
// fails but those that ran where somebody was killed, and that is what they say.
func TestCallsGoOnWhileServersComeAndGo(t *testing.T) {
	tracker, _ := startTracker(t, "--first")
	journal := filepath.Join(t.TempDir(), "journal")
	serve := func(name string, flags ...string) *callServer {
		return startCallServer(t, append([]string{"--tracker", tracker, "--service", "library", "--name", name}, flags...)...)
	}
	first, second := serve("first"), serve("second", "--journal", journal)
	registry, err := naming.Dial(rpc.ClientOptions{}, tracker)
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	f := naming.Follow(registry, naming.FollowOptions{})
	defer f.Close()
	c, err := rpc.NewClient(rpc.ClientOptions{Service: "library"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if err := errors.Join(f.Feed("library", c), c.Ready(ctx, 2)); err != nil {
		t.Fatal(err)
	}

	const callers = 4
	var calls, unknown atomic.Int64
	var over atomic.Bool
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			for n := i; !over.Load(); n += callers {
				got, err := rpc.Call[int](ctx, c, "echo", n)
				switch {
				case err == nil && got == n:
					calls.Add(1)
				case errors.Is(err, rpc.Lost) && errors.Is(err, rpc.Indeterminate):
					unknown.Add(1)
				default:
					t.Errorf("call %d: %d, %v", n, got, err)
					return
				}
			}
		})
	}
	more := func() {
		t.Helper()
		have := calls.Load()
		first.eventually("calls go on", func() bool { return calls.Load() > have+100 })
	}
	more()
	third := serve("third")
	first.eventually("the new one is called, too", func() bool { return third.metric(`calls_total{code="OK",execution="Executed"}`) > 10 })
	if err := first.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := first.wait(); err != nil {
		t.Errorf("told to stop: %v", err)
	}
	more()
	if n := unknown.Load(); n != 0 {
		t.Errorf("%d calls are unknown before anybody was killed", n)
	}
	was := f.View().Nodes()
	if err := second.process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = second.wait()
	second = serve("second", "--journal", journal)
	second.eventually("the one that is back is called", func() bool { return second.metric(`calls_total{code="OK",execution="Executed"}`) > 10 })
	more()
	over.Store(true)
	running.Wait()
	t.Logf("%d calls, %d unknown", calls.Load(), unknown.Load())
	if n := unknown.Load(); n > callers {
		t.Errorf("%d calls are unknown, and there were %d callers", n, callers)
	}
	for _, n := range was { // its journal is the same, so it is the same
		if now, err := f.View().Rank(n.Rank); n.ID == "second" && (err != nil || now.Epoch != n.Epoch || now.Endpoints == n.Endpoints) {
			t.Errorf("%+v is now %+v, %v: want the same epoch, and another address", n, now, err)
		}
	}
}
