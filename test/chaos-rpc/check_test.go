//go:build linux

package main

import (
	"reflect"
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

func TestTheCheckerFindsWhatIsBrokenBetweenCalls(t *testing.T) {
	const ms = time.Millisecond
	at := func(call string, at time.Duration, given ...result) run {
		return run{call: call, server: "0.1", who: "s", at: at, over: at + ms, left: -1, pid: 1, given: given}
	}
	o := func(call string, code session.Code, e session.Execution, needs ...string) outcome {
		return outcome{call: call, code: code, execution: e, asked: ms, told: 20 * ms, whole: true, needs: needs, sum: "s" + call}
	}
	ok := func(call string, needs ...string) outcome { return o(call, session.OK, session.Executed, needs...) }
	idempotent := func(o outcome) outcome { o.idempotent = true; return o }
	in := func(g string, o outcome) outcome { o.group = g; return o }
	of := func(call string) result { return result{call, "s" + call} }
	const (
		a, b, needy      = "0.1.w1.1", "0.1.w1.2", "0.1.w1.n3"
		oneWay, hedge    = "0.1.w1.o1", "0.1.w1.hi1"
		first, second, g = "0.1.w1.g1", "0.1.w1.g2", "0.1.w1.1"
	)
	for _, c := range []struct {
		name     string
		outcomes []outcome
		runs     []run
		groups   []group
		broken   int
	}{
		{name: "it was given what it needs", outcomes: []outcome{ok(a), ok(b), ok(needy, a, b)}, runs: []run{at(a, 5*ms), at(b, 6*ms), at(needy, 7*ms, of(a), of(b))}},
		{name: "another call's result", outcomes: []outcome{ok(a), ok(b), ok(needy, a)}, runs: []run{at(a, 5*ms), at(b, 6*ms), at(needy, 7*ms, of(b))}, broken: 1},
		{name: "in another order", outcomes: []outcome{ok(a), ok(b), ok(needy, a, b)}, runs: []run{at(a, 5*ms), at(b, 6*ms), at(needy, 7*ms, of(b), of(a))}, broken: 1},
		{name: "nothing", outcomes: []outcome{ok(a), ok(needy, a)}, runs: []run{at(a, 5*ms), at(needy, 7*ms)}, broken: 1},
		{name: "something that it does not need", outcomes: []outcome{ok(a), ok(b)}, runs: []run{at(a, 5*ms), at(b, 7*ms, of(a))}, broken: 1},
		{name: "the result of a call that has not run", outcomes: []outcome{o(a, session.Lost, session.Indeterminate), ok(needy, a)}, runs: []run{at(needy, 7*ms, of(a))}, broken: 1},
		{name: "before that has run", outcomes: []outcome{ok(a), ok(needy, a)}, runs: []run{at(a, 8*ms), at(needy, 7*ms, of(a))}, broken: 1},
		{name: "before that has run, and nobody was told", runs: []run{at(needy, 7*ms, of(a))}, broken: 1},
		{name: "the result of a call that has failed", outcomes: []outcome{o(a, session.Failed, session.Executed), ok(needy, a)}, runs: []run{at(a, 5*ms), at(needy, 7*ms, of(a))}, broken: 1},
		{name: "the same of one that may have had a result before", outcomes: []outcome{idempotent(o(a, session.Failed, session.Executed)), ok(needy, a)}, runs: []run{at(a, 5*ms), at(a, 6*ms), at(needy, 7*ms, of(a))}},
		{name: "the result of a call that was lost and has run", outcomes: []outcome{o(a, session.Lost, session.Indeterminate), ok(needy, a)}, runs: []run{at(a, 5*ms), at(needy, 7*ms, result{a, "any"})}},
		{name: "another result than the caller was told", outcomes: []outcome{ok(a), ok(needy, a)}, runs: []run{at(a, 5*ms), at(needy, 7*ms, result{a, "other"})}, broken: 1},
		{name: "a call whose promise is broken ran", outcomes: []outcome{ok(a), o(needy, session.Unmet, session.NotExecuted, a)}, runs: []run{at(a, 5*ms), at(needy, 7*ms, of(a))}, broken: 1},
		{name: "a one-way call", outcomes: []outcome{ok(oneWay)}, runs: []run{at(oneWay, 5*ms)}},
		{name: "a one-way call ran twice", outcomes: []outcome{ok(oneWay)}, runs: []run{at(oneWay, 5*ms), at(oneWay, 6*ms)}, broken: 1},
		{name: "a one-way call ran, and that was denied", outcomes: []outcome{o(oneWay, session.NoServer, session.NotExecuted)}, runs: []run{at(oneWay, 5*ms)}, broken: 1},
		{name: "a hedge ran twice, once too late", outcomes: []outcome{idempotent(ok(hedge))}, runs: []run{at(hedge, 5*ms), at(hedge, 500*ms)}},
		{name: "a hedge ran, and that was denied", outcomes: []outcome{idempotent(o(hedge, session.NoServer, session.NotExecuted))}, runs: []run{at(hedge, 5*ms)}, broken: 1},
		{name: "a group", outcomes: []outcome{in(g, ok(first)), in(g, ok(second))}, runs: []run{at(first, 5*ms), at(second, 6*ms)}, groups: []group{{g, 2, 21 * ms}}},
		{name: "a call outlives its group", outcomes: []outcome{in(g, ok(first)), in(g, ok(second))}, runs: []run{at(first, 5*ms), at(second, 6*ms)}, groups: []group{{g, 2, 19 * ms}}, broken: 2},
		{name: "a call of a group has no end", outcomes: []outcome{in(g, ok(first))}, runs: []run{at(first, 5*ms)}, groups: []group{{g, 2, 21 * ms}}, broken: 1},
		{name: "a group whose client was killed", outcomes: []outcome{in(g, ok(first))}, runs: []run{at(first, 5*ms), at(second, 6*ms)}},
	} {
		if f := check(&history{outcomes: c.outcomes, groups: c.groups, runs: c.runs, slack: 100 * ms}); len(f.broken) != c.broken {
			t.Errorf("%s: found %q", c.name, f.broken)
		}
	}
}

// What is written is what is read.
func TestTheHistoryComesBack(t *testing.T) {
	dir := t.TempDir()
	f, err := openTruth(dir + "/outcomes")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	wrote := []outcome{
		{call: "a", code: session.Lost, execution: session.Indeterminate, asked: 1, told: 3, attempts: 2, sum: none, group: none},
		{call: "b", idempotent: true, until: 2, whole: true, needs: names{"a", "c"}, sum: sumOf([]byte("x")), group: "g"},
	}
	for _, o := range wrote {
		note(f, o.String())
	}
	if read, err := readOutcomes(dir + "/outcomes"); err != nil || !reflect.DeepEqual(read, wrote) {
		t.Errorf("%+v, %v", read, err)
	}
	runs, err := openTruth(dir + "/runs")
	if err != nil {
		t.Fatal(err)
	}
	defer runs.Close()
	note(runs, "start b 0.1 s 5 6 7 a:1,c:2")
	if _, err := runs.WriteString("\nstart e 0.1 s 5 6"); err != nil { // its process was killed
		t.Fatal(err)
	}
	note(runs, "over b 0.1 s 8 0 7 -")
	note(runs, "start d 0.1 s 5 6 7 -")
	want := []run{{call: "b", server: "0.1", who: "s", at: 5, left: 6, over: 8, pid: 7, given: []result{{"a", "1"}, {"c", "2"}}}, {call: "d", server: "0.1", who: "s", at: 5, left: 6, pid: 7}}
	if read, err := readRuns(dir + "/runs"); err != nil || !reflect.DeepEqual(read, want) {
		t.Errorf("%+v, %v", read, err)
	}
}
