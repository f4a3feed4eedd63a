package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rpcpool.dev/internal/freeports"
	"rpcpool.dev/internal/local"
	"rpcpool.dev/sidecar"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

// patience bounds waits in tests: far beyond what a loaded machine needs.
const patience = time.Minute

// buildPrograms builds agent and worker, and has the command find them.
func buildPrograms(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for program, pkg := range map[string]string{"rpcpool-agent": "rpcpool.dev/cmd/agent", "rpcpool-worker": "rpcpool.dev/cmd/worker", "rpcpool-calls-worker": "rpcpool.dev/cmd/calls-worker"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, program), pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", program, err, out)
		}
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// freePorts returns the first of n ports of 127.0.0.1 that follow each other and are free now.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	first, err := freeports.Row(n)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

func writeManifest(t *testing.T, tracker, server int, command string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pool.yaml")
	body := fmt.Sprintf(`apiVersion: rpcpool.dev/v1alpha1
kind: RPCPool
metadata: {name: test}
spec:
  replicas: 2
  tracker: {port: %d}
  server: {port: %d, command: [%s], sessionTimeout: {default: 30s, max: 1m}}
`, tracker, server, command)
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLocalRunsAPool: a manifest becomes a tracker and servers that serve, that
// survive a crash of a worker, and of which nothing is left after the stop.
func TestLocalRunsAPool(t *testing.T) {
	buildPrograms(t)
	first := freePorts(t, 4)
	tracker := fmt.Sprintf("127.0.0.1:%d", first)
	metrics := fmt.Sprintf("127.0.0.1:%d", first+3)
	path := writeManifest(t, first, first+1, "rpcpool-worker, --test-functions")
	data := filepath.Join(t.TempDir(), "data")

	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	var stdout, stderr bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{
			"rpcpool", "local", "-f", path, "-o", "json", "--metrics", metrics, "--data-dir", data, "--log-level", "error", "--first",
		}, &stdout, &stderr)
	}()
	wait(ctx, t, done, "ready", func() bool { return status("http://"+metrics+"/readyz") == http.StatusOK })

	for i := range 6 {
		session, err := client.Request(ctx, tracker, "test", client.Options{})
		if err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
		if i%2 == 0 {
			if _, err := session.Call(ctx, "test.segfault"); err == nil {
				t.Errorf("session %d: a worker that crashed answered", i)
			}
		} else if got, err := session.Call(ctx, "test.addone", 41); err != nil || got != int64(42) {
			t.Errorf("session %d: 41 + 1 = %v, %v", i, got, err)
		}
		if err := session.Close(); err != nil && i%2 == 1 {
			t.Errorf("session %d: close: %v", i, err)
		}
	}
	wait(ctx, t, done, "heard to count three crashes", func() bool {
		return strings.Contains(text(t, "http://"+metrics+"/metrics"), `rpcpool_session_ends_total{key="test",reason="crash-signal"} 3`)
	})
	joinAndLeave(t, tracker)
	stop()
	if got := <-done; got != exitOK {
		t.Errorf("status %d, stderr:\n%s", got, stderr.String())
	}
	var plan local.Plan
	if err := json.Unmarshal(stdout.Bytes(), &plan); err != nil || len(plan.Servers) != 2 || len(plan.Trackers) != 1 {
		t.Errorf("stdout %q, %v", stdout.String(), err)
	}
	left, err := filepath.Glob(filepath.Join(data, "*", "work", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("work directories left: %v, %v", left, err)
	}
	for port := first; port < first+4; port++ {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = c.Close()
			t.Errorf("port %d is still served", port)
		}
	}
}

// sampleAt is a sample whose tracker has a port, with other changes, as of
// [strings.NewReplacer].
func sampleAt(t *testing.T, name string, tracker int, changes ...string) string {
	t.Helper()
	sample, err := os.ReadFile("../../config/samples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	changes = append(changes, "  server:", fmt.Sprintf("  tracker: {port: %d}\n  server:", tracker))
	return strings.NewReplacer(changes...).Replace(string(sample))
}

// TestLocalRunsTheWatchdogSample: one worker serves session after session, has
// the heartbeat and the phases that the manifest asks for, and is replaced when a
// call is over its budget.
func TestLocalRunsTheWatchdogSample(t *testing.T) {
	buildPrograms(t)
	first := freePorts(t, 2)
	body := sampleAt(t, "rpcpool-watchdog.yaml", first,
		"replicas: 2", "replicas: 1", "port: 9110", fmt.Sprint("port: ", first+1), "run: 20s", "run: 2s",
		"--flavour=C", "--flavour=C, --test-functions")
	path := filepath.Join(t.TempDir(), "pool.yaml")
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	var stdout, stderr bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"rpcpool", "local", "-f", path, "-o", "json", "--log-level", "error"}, &stdout, &stderr)
	}()
	tracker := fmt.Sprintf("127.0.0.1:%d", first)
	wait(ctx, t, done, "served", func() bool {
		c, err := net.Dial("tcp", tracker)
		return err == nil && c.Close() == nil
	})
	// call makes one call in a session of its own.
	call := func(function string, args ...any) (any, error) {
		t.Helper()
		session, err := client.Request(ctx, tracker, "cpu-watchdog", client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		return session.Call(ctx, function, args...)
	}
	pid, err := call("test.pid")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"RPCPOOL_SESSION": "watchdog", "WATCHDOG_USEC": "5000000", "RPCPOOL_PHASES": "upload,load,run"} {
		if got, err := call("test.env", name); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
	if again, err := call("test.pid"); err != nil || again != pid {
		t.Errorf("another session is served by process %v, %v; want %v", again, err, pid)
	}
	if _, err := call("test.spin"); err == nil || !strings.Contains(err.Error(), `"run" took over 2s`) {
		t.Errorf("a call over its budget: %v", err)
	}
	if next, err := call("test.pid"); err != nil || next == pid {
		t.Errorf("after that, a session is served by process %v, %v; it was %v before", next, err, pid)
	}
	stop()
	if got := <-done; got != exitOK {
		t.Errorf("status %d, stderr:\n%s", got, stderr.String())
	}
}

// TestLocalNamesThePortInUse: a port that somebody has is an error that names
// the manifest's field, and nothing is left running.
func TestLocalNamesThePortInUse(t *testing.T) {
	buildPrograms(t)
	first := freePorts(t, 3)
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+2))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := writeManifest(t, first, first+1, "rpcpool-worker")
	got, stdout, stderr := execute(t, "local", "-f", path)
	want := fmt.Sprintf("rpcpool: %s: document 1: spec.server.port: listen on %s: ", path, taken.Addr())
	if got != exitFailed || stdout != "" || !strings.HasPrefix(stderr, want) || strings.Count(stderr, "\n") != 1 {
		t.Errorf("status %d, stdout %q, stderr %q; want %q", got, stdout, stderr, want)
	}
}

func TestLocalNeedsItsAgentAndItsWorker(t *testing.T) {
	first := freePorts(t, 3)
	t.Setenv("PATH", t.TempDir())
	path := writeManifest(t, first, first+1, "no-such-worker")
	want := "rpcpool: " + path + `: document 1: spec.server.command: Invalid value: "no-such-worker": `
	if got, _, stderr := execute(t, "local", "-f", path); got != exitUsage || !strings.HasPrefix(stderr, want) {
		t.Errorf("status %d, stderr %q, want %q", got, stderr, want)
	}
	path = writeManifest(t, first, first+1, "/bin/sh")
	if got, _, stderr := execute(t, "local", "-f", path); got != exitFailed || !strings.HasPrefix(stderr, "rpcpool: --agent: rpcpool-agent ") {
		t.Errorf("status %d, stderr %q", got, stderr)
	}
	if got, _, stderr := execute(t, "local", "-f", path, "--agent", "/no/such/agent"); got != exitFailed || !strings.Contains(stderr, "/no/such/agent") {
		t.Errorf("status %d, stderr %q", got, stderr)
	}
}

// TestServerOptions: in a manifest zero means zero, to the server the default;
// and nothing of a manifest is lost on the way.
func TestServerOptions(t *testing.T) {
	settings := local.Settings{Flavour: "Auto", Isolation: "Fork", KillDump: "None", MaxTimeout: time.Hour}
	o, err := serverOptions(local.Server{Key: "k", Settings: settings})
	if err != nil || o.KillGrace <= 0 || o.KillGrace > time.Millisecond || o.SessionTimeout.Max != time.Hour {
		t.Errorf("%+v, %v", o, err)
	}
	if o.Isolation != sidecar.IsolationFork || o.Heartbeat != 0 || len(o.Budgets) > 0 || o.Dump != 0 || o.Limits != (supervise.Limits{}) {
		t.Errorf("%+v", o)
	}
	got, err := serverOptions(local.Server{
		Key: "k", Tracker: "127.0.0.1:9190", Command: []string{"w", "-x"},
		Settings: local.Settings{
			Flavour: "C", Isolation: "Watchdog", KillDump: "Quit", Env: []string{"A=1"}, WarmWorkers: 2, Failures: 3, Window: time.Minute,
			DefaultTimeout: time.Minute, MaxTimeout: time.Hour, HandshakeTimeout: 6 * time.Second, KillGrace: 7 * time.Second,
			Heartbeat: 8 * time.Second, Budgets: local.Budgets{Upload: 9 * time.Second, Load: 10 * time.Second, Run: 11 * time.Second},
			Limits: local.Limits{CPU: 12, Memory: 13, Processes: 14, OpenFiles: 15}, WorkDirLimit: 16,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := sidecar.Options{
		Key: "k", Tracker: "127.0.0.1:9190", Command: []string{"w", "-x"}, Env: []string{"A=1"}, Flavour: tvm.FlavourC, Warm: 2,
		HandshakeTimeout: 6 * time.Second, KillGrace: 7 * time.Second, Isolation: sidecar.IsolationWatchdog, Heartbeat: 8 * time.Second,
		Budgets: map[supervise.Phase]time.Duration{
			supervise.PhaseUpload: 9 * time.Second, supervise.PhaseLoad: 10 * time.Second, supervise.PhaseRun: 11 * time.Second,
		},
		Dump:   syscall.SIGQUIT,
		Limits: supervise.Limits{CPU: 12, Memory: 13, Processes: 14, OpenFiles: 15, File: 16, WorkDir: 16},
	}
	want.SessionTimeout.Default, want.SessionTimeout.Max = time.Minute, time.Hour
	want.Quarantine.Failures, want.Quarantine.Window = 3, time.Minute
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

func TestServerOptionsRefuseWhatTheyDoNotKnow(t *testing.T) {
	for want, settings := range map[string]local.Settings{
		"flavour: ":                                {Flavour: "Z", Isolation: "Fork", KillDump: "None"},
		`isolation: "Jail": want fork or`:          {Flavour: "A", Isolation: "Jail", KillDump: "None"},
		`kill dump: "Film": want none, quit or ab`: {Flavour: "A", Isolation: "Fork", KillDump: "Film"},
	} {
		if _, err := serverOptions(local.Server{Settings: settings}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want one that begins with %q", err, want)
		}
	}
}

// wait polls until the condition holds, the command ends, or ctx does.
func wait(ctx context.Context, t *testing.T, done <-chan int, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case status := <-done:
			t.Fatalf("ended with status %d before it was %s", status, what)
		case <-ctx.Done():
			t.Fatalf("not %s after %s", what, patience)
		case <-tick.C:
		}
	}
}

// fetch gets a page over a connection of its own.
func fetch(url string) (int, string, error) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), errors.Join(err, resp.Body.Close())
}

func status(url string) int {
	code, _, err := fetch(url)
	if err != nil {
		return 0
	}
	return code
}

func text(t *testing.T, url string) string {
	t.Helper()
	_, body, err := fetch(url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
