package main

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"rpcpool.dev/rpc/accumulator"
	"rpcpool.dev/rpc/accumulator/remote"
)

// TestWhatWorkersAccumulateIsInTheMetrics: two workers of `rpcpool serve`, one of which
// dies, and another program write to the same accumulators; /metrics has the sums. The
// workers can run one call at a time only, and write while they do.
func TestWhatWorkersAccumulateIsInTheMetrics(t *testing.T) {
	at := "unix:" + filepath.Join(t.TempDir(), "accumulators")
	s := startCallServer(t, "--workers", "2", "--accumulators", at)
	series := func(name string) string {
		m := regexp.MustCompile(`(?m)^rpcpool_accumulator` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(s.get("/metrics"))
		if m == nil {
			return ""
		}
		return m[1]
	}
	for range 10 {
		if status, out, errs := s.call("", "echo", "1"); status != exitOK || out != "1\n" {
			t.Fatalf("status %d, %q, %q", status, out, errs)
		}
	}
	s.eventually("both workers have written", func() bool { return series(`_builtin_calls_total{method="echo"}`) == "10" })
	if n := series(`_builtin_run_seconds_count{method="echo"}`); n != "10" {
		t.Errorf("the timer has %q", n)
	}
	_, _, _ = s.call("", "crash", `"exit"`)
	if n := series(`_builtin_calls_total{method="echo"}`); n != "10" {
		t.Errorf("after a worker's death there are %q", n)
	}

	other, err := remote.Dial(at, accumulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	other.Sum("builtin_calls", accumulator.Label{Name: "method", Value: "echo"}).Add(32)
	other.Max("queue").Add(7)
	if err := other.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if sum, most := series(`_builtin_calls_total{method="echo"}`), series(`_queue_max`); sum != "42" || most != "7" {
		t.Errorf("the sum is %q, the maximum %q", sum, most)
	}
	if n := series("s"); n == "" || n == "0" {
		t.Errorf("%q accumulators", n)
	}
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.wait(); err != nil {
		t.Errorf("told to stop: %v", err)
	}
}

func TestAccumulatorsThatCannotBe(t *testing.T) {
	for addr, want := range map[string]string{
		"host":          "rpcpool: --accumulators: bad address \"host\"",
		"unix:/no/dir/": "rpcpool: --accumulators: listen on /no/dir/",
	} {
		status, _, errs := execute(t, "serve", "--protocol", "rpc", "--listen", "127.0.0.1:0", "--accumulators", addr, "--", "sh")
		if status != exitUsage || !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, %q; want %q", addr, status, errs, want)
		}
	}
}
