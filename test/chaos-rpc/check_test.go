//go:build linux

package main

import (
	"testing"
	"time"

	"rpcpool.dev/rpc/session"
)

// A checker that never finds anything proves nothing.
func TestTheCheckerFindsWhatIsBroken(t *testing.T) {
	const ms = time.Millisecond
	r := func(call string, at time.Duration) run {
		return run{call: call, server: "0.1", who: "s", at: at, over: at + ms, left: -1, pid: 1}
	}
	o := func(call string, code session.Code, e session.Execution, asked, told time.Duration) outcome {
		return outcome{call: call, code: code, execution: e, asked: asked, told: told, whole: true}
	}
	late := o("0.1.w1.1", session.DeadlineExceeded, session.Indeterminate, ms, 20*ms)
	late.until = 20 * ms
	deceived := r("0.1.w1.1", 21*ms)
	deceived.left = ms
	cutShort, ofAnother, ofTheSame := r("0.1.w1.l1", 10*ms), r("0.1.w1.l2", 20*ms), r("0.1.w1.l2", 20*ms)
	cutShort.over, cutShort.pid, ofAnother.pid, ofTheSame.pid = 0, 7, 8, 7
	alive := r("0.1.w9.1", 25*ms)
	alive.pid = 7
	lane := []outcome{o("0.1.w1.l1", session.Crashed, session.Indeterminate, ms, 40*ms), o("0.1.w1.l2", session.OK, session.Executed, 2*ms, 40*ms)}
	idempotent := o("0.1.w1.i1", session.OK, session.Executed, ms, 20*ms)
	idempotent.idempotent = true
	strange := o("0.1.w1.1", session.OK, session.Executed, ms, 20*ms)
	strange.whole = false
	overlap := r("0.1.w1.l1", 10*ms)
	overlap.over = 30 * ms
	for _, c := range []struct {
		name     string
		outcomes []outcome
		runs     []run
		frozen   []frozen
		broken   int
	}{
		{"a result", []outcome{o("0.1.w1.1", session.OK, session.Executed, ms, 20*ms)}, []run{r("0.1.w1.1", 10*ms)}, nil, 0},
		{"a result of nothing", []outcome{o("0.1.w1.1", session.OK, session.Executed, ms, 20*ms)}, nil, nil, 1},
		{"two runs", []outcome{o("0.1.w1.1", session.OK, session.Executed, ms, 20*ms)}, []run{r("0.1.w1.1", 10*ms), r("0.1.w1.1", 11*ms)}, nil, 1},
		{"two runs of an idempotent call", []outcome{idempotent}, []run{r("0.1.w1.i1", 10*ms), r("0.1.w1.i1", 11*ms)}, nil, 0},
		{"two runs, and nobody was told", nil, []run{r("0.1.w1.1", 10*ms), r("0.1.w1.1", 11*ms)}, nil, 1},
		{"it ran, and the client was told that it did not", []outcome{o("0.1.w1.1", session.Refused, session.NotExecuted, ms, 20*ms)}, []run{r("0.1.w1.1", 10*ms)}, nil, 1},
		{"two runs, Indeterminate", []outcome{o("0.1.w1.1", session.Lost, session.Indeterminate, ms, 20*ms)}, []run{r("0.1.w1.1", 10*ms), r("0.1.w1.1", 11*ms)}, nil, 1},
		{"two outcomes", []outcome{late, late}, nil, nil, 1},
		{"another's reply", []outcome{strange}, []run{r("0.1.w1.1", 10*ms)}, nil, 1},
		{"a run long after the deadline", []outcome{late}, []run{r("0.1.w1.1", 200*ms)}, nil, 1},
		{"a run long after the deadline, of a frozen server", []outcome{late}, []run{r("0.1.w1.1", 200*ms)}, []frozen{{"0", 10 * ms, 199 * ms}}, 0},
		{"a run after the deadline, of a server that does not know it", []outcome{late}, []run{deceived}, nil, 1},
		{"a call of a lane whose worker has died, and the next in another", lane, []run{cutShort, ofAnother}, nil, 0},
		{"the same, and the first worker is alive", append(lane, o("0.1.w9.1", session.OK, session.Executed, ms, 40*ms)), []run{cutShort, ofAnother, alive}, nil, 1},
		{"a call of a lane that has not ended, and the next in the same worker", lane, []run{cutShort, ofTheSame}, nil, 1},
		{
			"a run after a later call", []outcome{o("0.1.w1.1", session.Canceled, session.Indeterminate, ms, 20*ms), o("0.1.w2.1", session.OK, session.Executed, 25*ms, 40*ms)},
			[]run{r("0.1.w2.1", 30*ms), r("0.1.w1.1", 200*ms)},
			nil, 1,
		},
		{
			"calls of a lane that overlap", []outcome{o("0.1.w1.l1", session.OK, session.Executed, ms, 40*ms), o("0.1.w1.l2", session.OK, session.Executed, 2*ms, 40*ms)},
			[]run{overlap, r("0.1.w1.l2", 20*ms)},
			nil, 1,
		},
		{
			"calls of a lane that change places", []outcome{o("0.1.w1.l1", session.OK, session.Executed, ms, 40*ms), o("0.1.w1.l2", session.OK, session.Executed, 2*ms, 40*ms)},
			[]run{r("0.1.w1.l2", 10*ms), r("0.1.w1.l1", 20*ms)},
			nil, 1,
		},
	} {
		if f := check(&history{outcomes: c.outcomes, runs: c.runs, frozen: c.frozen, slack: 100 * ms}); len(f.broken) != c.broken {
			t.Errorf("%s: found %q", c.name, f.broken)
		}
	}
}
