package workers

import (
	"testing"
	"time"

	"rpcpool.dev/rpc/crash"
)

func TestTheCauseOfAnEnd(t *testing.T) {
	for name, c := range map[string]struct {
		killed crash.Cause
		busy   bool
		r      crash.Report
		want   crash.Cause
	}{
		"in order, with nothing to do":       {r: crash.Report{}, want: crash.Completed},
		"in order, in the middle of a call":  {busy: true, want: crash.Exit},
		"with a status":                      {r: crash.Report{Status: 7}, want: crash.Exit},
		"of a signal":                        {r: crash.Report{Status: -1, Signal: 11}, want: crash.Signal},
		"killed by somebody":                 {r: crash.Report{Status: -1, Signal: 9}, want: crash.Signal},
		"killed by the kernel, for memory":   {r: crash.Report{Status: -1, Signal: 9, OOM: true}, want: crash.OOM},
		"killed by us, and memory ran out":   {killed: crash.Timeout, r: crash.Report{Status: -1, Signal: 9, OOM: true}, want: crash.Timeout},
		"killed by us, and it left a status": {killed: crash.Drained, r: crash.Report{Status: 3}, want: crash.Drained},
	} {
		if got := classify(c.killed, c.busy, &c.r); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestPausesGrowUntilAWorkerServes(t *testing.T) {
	var r restart
	for i, ms := range []int{100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000} {
		if got := r.ended(false, 0, 0.5); got.Milliseconds() != int64(ms) {
			t.Errorf("pause %d is %v", i, got)
		}
		if r.loops() != (i >= 4) {
			t.Errorf("after %d failures, loops is %v", i+1, r.loops())
		}
	}
	if got := r.ended(true, time.Second, 0.5); got != 0 || r.loops() {
		t.Errorf("a crash that a call caused: %v", got)
	}
	if lo, hi := r.ended(false, time.Second, 0), r.ended(false, 0, 1); lo != 80*time.Millisecond || hi != 240*time.Millisecond {
		t.Errorf("spread %v, %v", lo, hi)
	}
	if got := r.ended(false, time.Hour, 0.5); got != 0 || r.loops() {
		t.Errorf("a worker that was idle for an hour: %v", got)
	}
}
