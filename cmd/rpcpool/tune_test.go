package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rpcpool.dev/internal/tune"
)

// runPool runs `rpcpool local` with two servers of the key test until the test
// ends, and returns the tracker's address.
func runPool(ctx context.Context, t *testing.T) string {
	t.Helper()
	buildPrograms(t)
	first := freePorts(t, 4)
	metrics := fmt.Sprintf("127.0.0.1:%d", first+3)
	path := writeManifest(t, first, first+1, "rpcpool-worker")
	ctx, stop := context.WithCancel(ctx)
	var stderr bytes.Buffer
	done := make(chan int, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		done <- run(ctx, []string{
			"rpcpool", "local", "-f", path, "--metrics", metrics, "--data-dir", filepath.Join(t.TempDir(), "data"), "--log-level", "error",
		}, new(bytes.Buffer), &stderr)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		if t.Failed() {
			t.Logf("the pool's log:\n%s", stderr.String())
		}
	})
	wait(ctx, t, done, "ready", func() bool { return status("http://"+metrics+"/readyz") == http.StatusOK })
	return fmt.Sprintf("127.0.0.1:%d", first)
}

// TestTuneOnAPool: the main job, small: real worker processes, of which some
// crash and some are killed at the deadline.
func TestTuneOnAPool(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	tracker := runPool(ctx, t)
	dir := t.TempDir()
	records, picture := filepath.Join(dir, "trials.jsonl"), filepath.Join(dir, "tune.svg")

	// Of this seed's first configurations, some do not fit the scratchpad.
	status, stdout, stderr := execute(t, "tune", "--tracker", tracker, "--key", "test", "--trials", "16", "--warmup", "16",
		"--size", "384", "--seed", "1", "--min-time", "1ms", "--out", records, "--plot", picture, "-o", "json")
	if status != exitOK {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var s tune.Summary
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		t.Fatalf("stdout is not only the summary: %v\n%s", err, stdout)
	}
	if s.Trials != 16 || s.Best == nil || s.Seed != 1 || len(s.Servers) != 2 {
		t.Errorf("summary %+v: want 16 trials on two servers, and a best", s)
	}
	if s.Outcomes[tune.OutcomeCrash] == 0 || s.Outcomes[tune.OutcomeOK] == 0 || s.Outcomes[tune.OutcomeError]+s.Outcomes[tune.OutcomeWrong] > 0 {
		t.Errorf("outcomes %v: want crashes and valid trials, and nothing else but timeouts", s.Outcomes)
	}
	checkTrialFile(t, records, s)
	if drawing, err := os.ReadFile(picture); err != nil || !bytes.HasPrefix(drawing, []byte("<?xml")) || !bytes.Contains(drawing, []byte("crash (")) {
		t.Errorf("picture of %d bytes, %v", len(drawing), err)
	}
	if strings.ContainsAny(stderr, "\x1b\r") || !strings.Contains(stderr, "16/16 trials") {
		t.Errorf("progress:\n%q", stderr)
	}

	// The naive product of 512×512 takes far more than 50 ms a run.
	status, stdout, stderr = execute(t, "tune", "--tracker", tracker, "--key", "test", "--trials", "1", "--size", "512", "--timeout", "50ms")
	if status != exitFailed || !strings.Contains(stdout, "1 timeout") || !strings.Contains(stderr, "rpcpool: no valid trial among 1\n") {
		t.Errorf("status %d, stdout:\n%s\nstderr:\n%s", status, stdout, stderr)
	}
}

func checkTrialFile(t *testing.T, path string, s tune.Summary) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[tune.Outcome]int{}
	for line := range strings.Lines(string(body)) {
		var tr tune.Trial
		if err := json.Unmarshal([]byte(line), &tr); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		outcomes[tr.Outcome]++
		if tr.Outcome == tune.OutcomeCrash && !strings.Contains(tr.Error, "crash-signal") {
			t.Errorf("trial %d crashed, and its error does not say how: %s", tr.Index, tr.Error)
		}
	}
	for _, o := range tune.Outcomes() {
		if outcomes[o] != s.Outcomes[o] {
			t.Errorf("%d records of %s, the summary counts %d", outcomes[o], o, s.Outcomes[o])
		}
	}
}

// TestTuneUsage: each wrong value is named, before anything is done.
func TestTuneUsage(t *testing.T) {
	good := map[string]string{"--tracker": "127.0.0.1:1", "--key": "cpu"}
	for _, tc := range []struct{ flag, value, want string }{
		{"--tracker", "", "--tracker: want HOST:PORT"},
		{"--tracker", "tracker", `--tracker: address "tracker": want HOST:PORT`},
		{"--tracker", "tracker:", `--tracker: address "tracker:": "" is not a port`},
		{"--tracker", "tracker:http", `--tracker: address "tracker:http": "http" is not a port`},
		{"--priority", "nan", "--priority NaN: want a number"},
		{"--priority", "-inf", "--priority -Inf: want a number"},
		{"--key", "a b", "--key"},
		{"--key", "", "--key"},
		{"--trials", "0", "--trials 0"},
		{"--parallel", "-1", "--parallel -1"},
		{"--size", "4097", "--size 4097: want 1 to 4096"},
		{"--arrays-every", "-2", "--arrays-every -2"},
		{"--warmup", "-2", "--warmup -2"},
		{"--timeout", "0s", "--timeout 0s"},
		{"--min-time", "2m", "--min-time 2m"},
		{"--wait", "-1s", "--wait: -1s is negative"},
		{"--timeout", "-1s", "--timeout: -1s is negative"},
		{"--min-time", "-1s", "--min-time: -1s is negative"},
		{"--plot", "tune.pdf", `--plot: picture "tune.pdf"`},
		{"-o", "xml", "table, json or yaml"},
		{"--seed", "-1", "--seed"},
	} {
		args := []string{"tune", tc.flag, tc.value}
		for flag, value := range good {
			if flag != tc.flag {
				args = append(args, flag, value)
			}
		}
		status, stdout, stderr := execute(t, args...)
		if status != exitUsage || stdout != "" || !strings.Contains(stderr, tc.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s %q: status %d, stdout %q, stderr %q; want 2 and one line with %s", tc.flag, tc.value, status, stdout, stderr, tc.want)
		}
	}
}

// TestTuneFailsClearly: what is wrong outside of the command line is status 1
// and one line.
func TestTuneFailsClearly(t *testing.T) {
	dir := t.TempDir()
	nowhere := fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1))
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no tracker", []string{"--wait", "0s"}, nowhere},
		{"trials to a directory that does not exist", []string{"--out", filepath.Join(dir, "no", "x")}, "--out"},
		{"picture to a directory that does not exist", []string{"--plot", filepath.Join(dir, "no", "x.svg")}, "--plot"},
		{"picture into a file", []string{"--plot", "/dev/null/x.svg"}, "not a directory"},
	} {
		status, stdout, stderr := execute(t, append([]string{"tune", "--tracker", nowhere, "--key", "cpu"}, tc.args...)...)
		if status != exitFailed || stdout != "" || !strings.Contains(stderr, tc.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, stdout %q, stderr %q; want 1 and one line with %s", tc.name, status, stdout, stderr, tc.want)
		}
	}
}
