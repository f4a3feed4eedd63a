package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"rpcpool.dev/tvm"
)

// TestPingCallsAFunctionOnAPool: the whole way of a client, through real
// processes.
func TestPingCallsAFunctionOnAPool(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	tracker := runPool(ctx, t)

	status, stdout, stderr := execute(t, "ping", "--tracker", tracker, "--key", "test", "--count", "5", "-o", "json")
	if status != exitOK || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var got pingResult
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if got.Key != "test" || got.Flavour != "C" || got.Calls != 5 || !strings.HasPrefix(got.Server, "127.0.0.1:") {
		t.Errorf("got %+v", got)
	}
	if got.SessionS <= 0 || got.MinS <= 0 || got.MinS > got.MedianS || got.MedianS > got.MaxS {
		t.Errorf("times that cannot be: %+v", got)
	}

	status, stdout, stderr = execute(t, "ping", "--tracker", tracker, "--key", "test")
	lines := strings.Split(stdout, "\n")
	if status != exitOK || len(lines) != 3 || !strings.HasPrefix(lines[0], "KEY ") || !strings.HasPrefix(lines[1], "test ") {
		t.Errorf("status %d, %s, table:\n%s", status, stderr, stdout)
	}
}

// TestPingSaysWhyThereIsNoSession: it goes on asking until its time is over,
// and tells what was wrong last.
func TestPingSaysWhyThereIsNoSession(t *testing.T) {
	nowhere := fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1))
	status, stdout, stderr := execute(t, "ping", "--tracker", nowhere, "--key", "cpu", "--timeout", "700ms")
	if status != exitFailed || stdout != "" || strings.Count(stderr, "\n") != 1 ||
		!strings.Contains(stderr, "rpcpool: tracker "+nowhere+": no session after 700ms") || !strings.Contains(stderr, "connection refused") {
		t.Errorf("no tracker: status %d, stdout %q, stderr %q", status, stdout, stderr)
	}

	tracker, _ := startTracker(t)
	status, _, stderr = execute(t, "ping", "--tracker", tracker, "--key", "cpu", "--timeout", "100ms")
	if status != exitFailed || !strings.Contains(stderr, `no session after 100ms (no server has the key "cpu"): `) || !strings.Contains(stderr, "deadline exceeded") {
		t.Errorf("no server: status %d, stderr %q", status, stderr)
	}

	// A server that nobody listens for is granted once, and then there is none.
	offer := dialTracker(t, tracker)
	dead := freePorts(t, 1)
	put := tvm.Put{Key: "dead", Port: tvm.PortNumber(dead), MatchKey: "dead:0.5"}
	if err := offer.UpdateInfo(t.Context(), tvm.NewUpdateInfo("dead", "127.0.0.1", dead)); err != nil {
		t.Fatal(err)
	}
	if err := offer.Put(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	status, _, stderr = execute(t, "ping", "--tracker", tracker, "--key", "dead", "--timeout", "300ms")
	if status != exitFailed || !strings.Contains(stderr, fmt.Sprintf("127.0.0.1:%d: connect: connection refused", dead)) {
		t.Errorf("dead server: status %d, stderr %q", status, stderr)
	}
	status, _, stderr = execute(t, "ping", "--tracker", tracker, "--key", "dead", "--timeout", "100ms")
	if status != exitFailed || !strings.Contains(stderr, "no session after 100ms (servers of the key: 1 granted): ") {
		t.Errorf("server that is granted: status %d, stderr %q", status, stderr)
	}
}

func TestPingUsage(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, `required flag(s) "key" not set`},
		{[]string{"--key", "a b"}, "--key: "},
		{[]string{"--key", "k", "--count", "0"}, "--count: 0 is not between 1 and 1000000"},
		{[]string{"--key", "k", "--timeout", "0s"}, "--timeout: 0s is not a positive duration"},
		{[]string{"--key", "k", "--tracker", "host"}, `--tracker: address "host": want HOST:PORT`},
		{[]string{"--key", "k", "more"}, `unknown command "more"`},
	} {
		status, stdout, stderr := execute(t, append([]string{"ping"}, tc.args...)...)
		if status != exitUsage || stdout != "" || !strings.Contains(stderr, tc.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: status %d, stdout %q, stderr %q; want 2 and one line with %s", tc.args, status, stdout, stderr, tc.want)
		}
	}
}
