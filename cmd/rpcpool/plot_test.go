package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/internal/tune"
)

// aLog is what a pod's log has of a job of three trials that was killed while it
// wrote about a fourth.
func aLog(t *testing.T) string {
	t.Helper()
	var log bytes.Buffer
	start := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for i, outcome := range []tune.Outcome{tune.OutcomeOK, tune.OutcomeCrash, tune.OutcomeOK} {
		log.WriteString("rpcpool: 1/3 trials\n")
		trial := tune.Trial{
			Index: i, Key: "board", Size: 96, Outcome: outcome, Server: "10.0.0.7:9090", SessionS: 1,
			Started: start.Add(time.Duration(i) * time.Second), Ended: start.Add(time.Duration(i+1) * time.Second),
		}
		if outcome == tune.OutcomeOK {
			trial.Seconds, trial.GFLOPS = 0.5/float64(i+1), float64(i+1)
		}
		if err := tune.WriteRecord(&log, trial); err != nil {
			t.Fatal(err)
		}
	}
	log.WriteString("Trials:  3 of 3\n{\"trial\":3,\"key\":\"bo")
	return log.String()
}

func TestPlotOfALog(t *testing.T) {
	dir := t.TempDir()
	log, picture := filepath.Join(dir, "log"), filepath.Join(dir, "tune.svg")
	if err := os.WriteFile(log, []byte(aLog(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := execute(t, "plot", log, "--out", picture, "-o", "json")
	if status != exitOK {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var s tune.Summary
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		t.Fatal(err)
	}
	if s.Key != "board" || s.Size != 96 || s.Trials != 3 || s.Outcomes[tune.OutcomeCrash] != 1 || s.WallS != 3 || s.Best.Trial != 2 {
		t.Errorf("summary %+v", s)
	}
	if drawing, err := os.ReadFile(picture); err != nil || !bytes.Contains(drawing, []byte("10.0.0.7:9090")) {
		t.Errorf("picture of %d bytes, %v", len(drawing), err)
	}
	status, stdout, stderr = execute(t, "plot", log)
	if status != exitOK || !strings.Contains(stdout, "key board\n") || strings.Contains(stdout, "at a time") {
		t.Errorf("status %d, table:\n%s%s; want no word of what a record does not say", status, stdout, stderr)
	}
}

func TestPlotUsage(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"a picture of no known format", []string{empty, "--out", "x.pdf"}, exitUsage, "want a name that ends in .svg or .png"},
		{"two files", []string{empty, empty}, exitUsage, "accepts at most 1 arg"},
		{"a file that is not there", []string{empty + "x"}, exitFailed, "no such file"},
		{"a file without a trial", []string{empty}, exitFailed, "no trial in it"},
	} {
		status, stdout, stderr := execute(t, append([]string{"plot"}, tc.args...)...)
		if status != tc.status || stdout != "" || !strings.Contains(stderr, tc.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, stdout %q, stderr %q; want %d and one line with %q", tc.name, status, stdout, stderr, tc.status, tc.want)
		}
	}
}
