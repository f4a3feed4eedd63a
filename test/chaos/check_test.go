//go:build linux

package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// epoch is when the histories of these tests begin.
func at(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }

var testBounds = bounds{
	grace: 150 * time.Millisecond, reap: 2 * time.Second, start: 10 * time.Second,
	before: 500 * time.Millisecond, after: 500 * time.Millisecond, slack: 5 * time.Second,
}

// seen is a session on server 0 that lasts from 10 s to 10.1 s, with the ends of
// its way.
func seen(w way, e end, text string) visit {
	return visit{
		program: program{number: 7, way: w, arg: 3, timeout: 20 * time.Second},
		granted: at(9990), admitted: at(10000), served: true, first: at(10010), last: at(10020), began: at(10030),
		ended: at(10100), end: e, text: text,
	}
}

func recorded(cause string, code, signal int) record {
	return record{number: 7, at: at(10100), id: "A", cause: cause, code: code, signal: signal, duration: 100 * time.Millisecond}
}

// history is what a checker is given.
type history struct {
	visits  []visit
	records []record
	hits    []hit
}

func (h history) broken() []string {
	c := newChecker(testBounds, 2)
	for _, k := range h.hits {
		over := c.hit(k)
		over(k.until, k.kind)
	}
	for _, r := range h.records {
		c.record(r)
	}
	for _, v := range h.visits {
		c.visit(v)
	}
	c.finish(at(100_000))
	return slices.Sorted(maps.Keys(c.tally.broken))
}

func one(v visit, records ...record) history { return history{visits: []visit{v}, records: records} }

func (h history) with(kind hitKind, ms int) history {
	h.hits = append(h.hits, hit{at: at(ms), kind: kind, pid: 1})
	return h
}

func with[T any](v T, change func(*T)) T { change(&v); return v }

func late(r record, ms int) record { r.at = at(ms); return r }

func TestHistories(t *testing.T) {
	good := seen(wayGood, endOwn, "")
	segv := seen(waySegfault, endException, "crash-signal: killed by signal 11 (SIGSEGV)")
	crash := recorded("crash-signal", -1, 11)
	spin := with(seen(waySpin, endException, "RPCSessionTimeoutError: session killed"), func(v *visit) {
		v.program.timeout = 50 * time.Millisecond
	})
	agentDied := seen(wayGood, endException, "crash-signal: the process above the worker died")
	unserved := with(seen(wayGood, endEOF, ""), func(v *visit) { v.served, v.first, v.last = false, time.Time{}, time.Time{} })
	cases := map[string]struct {
		history
		want []string
	}{
		"a good session":          {history: one(good, recorded("completed", 0, 0))},
		"a crash that is told":    {history: one(segv, crash)},
		"a timeout that is told":  {history: one(spin, recorded("timeout", -1, 15))},
		"an exit with its status": {history: one(seen(wayExit, endException, "crash-exit: exit status 3"), recorded("crash-exit", 3, 0))},

		"no record":                   {history: one(good), want: []string{ruleRecorded}},
		"two records":                 {history: one(good, recorded("completed", 0, 0), recorded("completed", 0, 0)), want: []string{ruleRecorded}},
		"a cause of another enum":     {history: one(good, recorded("bored", 0, 0)), want: []string{ruleCause}},
		"a crash of a good session":   {history: one(agentDied, recorded("crash-signal", -1, 0)), want: []string{ruleCause}},
		"another signal":              {history: one(segv, recorded("crash-signal", -1, 6)), want: []string{ruleCause}},
		"another status":              {history: one(seen(wayExit, endException, "crash-exit: 4"), recorded("crash-exit", 4, 0)), want: []string{ruleCause}},
		"a timeout before its time":   {history: one(seen(waySpin, endException, "RPCSessionTimeoutError: x"), recorded("timeout", -1, 9)), want: nil},
		"a good session timed out":    {history: one(seen(wayGood, endException, "RPCSessionTimeoutError: x"), recorded("timeout", -1, 9)), want: []string{ruleCause}},
		"a crash that is not told":    {history: one(with(segv, func(v *visit) { v.end, v.text = endEOF, "" }), crash), want: []string{ruleTold}},
		"told another cause":          {history: one(with(segv, func(v *visit) { v.text = "oom: too much" }), crash), want: []string{ruleTold}},
		"a wrong answer":              {history: one(with(good, func(v *visit) { v.wrong = "1 plus one is 3" }), recorded("completed", 0, 0)), want: []string{ruleRight}},
		"a client that hangs":         {history: one(with(good, func(v *visit) { v.end, v.ended = endHung, at(70_000) }), recorded("completed", 0, 0)), want: []string{ruleTold, ruleEnd}},
		"an end that comes too late":  {history: one(with(spin, func(v *visit) { v.ended = at(20_000) }), recorded("timeout", -1, 9)), want: []string{ruleEnd}},
		"a record of nobody":          {history: history{records: []record{recorded("completed", 0, 0)}}, want: []string{ruleDoor}},
		"a session behind a door":     {history: one(with(seen(wayDoorStale, endMismatch, ""), func(v *visit) { v.admitted = time.Time{} }), recorded("completed", 0, 0)), want: []string{ruleDoor}},
		"a handshake without answer":  {history: one(with(good, func(v *visit) { v.admitted, v.end = time.Time{}, endUnclear })), want: []string{ruleEnd}},
		"good without a real end":     {history: one(with(good, func(v *visit) { v.end = endEOF }), recorded("completed", 0, 0))},
		"a client that left is slow":  {history: one(good, late(recorded("client-gone", -1, 15), 10_260))},
		"a client that left is quick": {history: one(good, recorded("client-gone", -1, 15)), want: []string{ruleCause}},

		"an agent killed in the session":  {history: one(agentDied, recorded("crash-signal", -1, 0)).with(hitAgent, 10_050)},
		"an agent killed long before":     {history: one(agentDied, recorded("crash-signal", -1, 0)).with(hitAgent, 5_000), want: []string{ruleCause}},
		"an agent killed long after":      {history: one(agentDied, recorded("crash-signal", -1, 0)).with(hitAgent, 12_000), want: []string{ruleCause}},
		"a tracker killed in the session": {history: one(agentDied, recorded("crash-signal", -1, 0)).with(hitTracker, 10_050), want: []string{ruleCause}},
		"a worker killed in the session":  {history: one(seen(wayGood, endException, "crash-signal: 9"), recorded("crash-signal", -1, 9)).with(hitWorker, 10_050)},
		"a worker killed, but a segfault": {history: one(seen(wayGood, endException, "crash-signal: 11"), crash).with(hitWorker, 10_050), want: []string{ruleCause}},
		"a sidecar killed, no record":     {history: one(good).with(hitSidecar, 10_050), want: []string{ruleRecorded}},
		"killed before the hand-over":     {history: one(unserved).with(hitSidecar, 10_050)},
		"both killed, no record":          {history: one(good).with(hitBoth, 10_050)},
		"one killed after the other":      {history: one(good).with(hitSidecar, 10_050).with(hitAgent, 12_000)},
		"one killed long after the other": {history: one(good).with(hitSidecar, 10_050).with(hitAgent, 20_000), want: []string{ruleRecorded}},
		"an agent killed, no record":      {history: one(agentDied).with(hitAgent, 10_050), want: []string{ruleRecorded}},
		"recorded twice by a kill": {history: one(good, recorded("completed", 0, 0), late(recorded("completed", 0, 0), 10_400)).
			with(hitSidecar, 10_102)},
		"recorded twice by SIGTERM": {history: one(good, recorded("completed", 0, 0), late(recorded("completed", 0, 0), 10_400)).
			with(hitTermSidecar, 10_102), want: []string{ruleRecorded}},
		"a ticket that was no good": {
			history: one(with(good, func(v *visit) { v.misses = []miss{{0, at(9_000), endMismatch}} }), recorded("completed", 0, 0)), want: []string{ruleGrant},
		},
		"a ticket of a server that was killed": {
			history: one(with(good, func(v *visit) { v.misses = []miss{{0, at(9_000), endMismatch}} }), recorded("completed", 0, 0)).with(hitSidecar, 8_900),
		},
		"a call that its client left, awake again": {history: history{
			visits: []visit{seen(wayVanish, endOwn, "")}, hits: []hit{{at: at(10_040), until: at(14_000), kind: hitStop, pid: 1}},
			records: []record{with(recorded("completed", 0, 0), func(r *record) { r.at, r.duration = at(14_050), 4*time.Second })},
		}},
		"a call that its client left, completed": {history: one(seen(wayVanish, endOwn, ""), recorded("completed", 0, 0)), want: []string{ruleCause}},
		"a stop makes ends late": {history: history{
			visits:  []visit{with(spin, func(v *visit) { v.ended = at(24_000) })},
			records: []record{recorded("timeout", -1, 9)},
			hits:    []hit{{at: at(10_040), until: at(20_000), kind: hitStop, pid: 1}},
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.broken(); !slices.Equal(got, tc.want) {
				t.Errorf("broken: %q, want %q", got, tc.want)
			}
		})
	}
}

func TestDevicesServeOneAtATime(t *testing.T) {
	span := func(number, server, first, last int) visit {
		v := seen(wayGood, endOwn, "")
		v.program.number, v.server, v.first, v.last = number, server, at(first), at(last)
		return v
	}
	for name, tc := range map[string]struct {
		visits []visit
		broken bool
	}{
		"one after the other":         {visits: []visit{span(1, 0, 0, 10), span(2, 0, 10, 20), span(3, 0, 20, 30)}},
		"at once on two devices":      {visits: []visit{span(1, 0, 0, 10), span(2, 1, 5, 15)}},
		"at once on one":              {visits: []visit{span(1, 0, 0, 10), span(2, 0, 9, 15)}, broken: true},
		"one within the other":        {visits: []visit{span(2, 0, 4, 5), span(1, 0, 0, 10)}, broken: true},
		"noted in another order":      {visits: []visit{span(3, 0, 20, 30), span(1, 0, 0, 10)}},
		"calls of a client that hung": {visits: []visit{span(1, 0, 0, 10), with(span(2, 0, 9, 0), func(v *visit) { v.last = time.Time{} })}},
	} {
		c := newChecker(testBounds, 2)
		for _, v := range tc.visits {
			c.visit(v)
		}
		if got := c.tally.broken[ruleExcl] > 0; got != tc.broken {
			t.Errorf("%s: broken is %v", name, got)
		}
	}
}

func TestCheckerForgets(t *testing.T) {
	c := newChecker(testBounds, 1)
	for i := range 1000 {
		v := seen(wayGood, endOwn, "")
		v.program.number = i
		shift := time.Duration(i) * time.Second
		for _, when := range []*time.Time{&v.granted, &v.admitted, &v.first, &v.last, &v.began, &v.ended} {
			*when = when.Add(shift)
		}
		r := recorded("completed", 0, 0)
		r.number, r.at = i, v.ended
		c.hit(hit{at: v.ended, server: 0, kind: hitWorker})
		c.record(r)
		c.visit(v)
		c.judge(v.ended, false)
	}
	if len(c.visits) > 25 || len(c.records) > 25 || len(c.spans[1]) > 200 || len(c.hits[1]) > 200 {
		t.Errorf("%d sessions, %d records, %d spans, %d hits are kept", len(c.visits), len(c.records), len(c.spans[1]), len(c.hits[1]))
	}
	if len(c.tally.broken) > 0 {
		t.Errorf("broken: %v", c.tally.violations)
	}
}

func TestParseLine(t *testing.T) {
	line := `{"time":"2026-01-02T03:04:05.6Z","level":"INFO","msg":"session ended","session":"AB","client":"127.1.0.9:77",` +
		`"cause":"timeout","how":"killed","duration":1500000000,"limit":"session","exit_code":-1,"signal":9}`
	l, ok := parseLine([]byte(line+"\n"), 3)
	if !ok || l.record == nil || l.record.number != 9 || l.record.server != 3 || l.record.cause != "timeout" ||
		l.record.duration != 1500*time.Millisecond || l.record.signal != 9 {
		t.Errorf("parsed %+v, %v", l.record, ok)
	}
	if l, ok := parseLine([]byte(`{"level":"INFO","msg":"agent connected","agent_pid":5}`), 0); !ok || l.agent != 5 {
		t.Errorf("parsed %+v, %v", l, ok)
	}
	if l, ok := parseLine([]byte("panic: oh no"), 0); ok || !strings.Contains(l.msg, "oh no") {
		t.Errorf("parsed %+v, %v", l, ok)
	}
	if l, _ := parseLine([]byte(strings.Replace(line, "127.1.0.9:77", "probe", 1)), 0); l.record != nil {
		t.Errorf("a probe is session %d", l.record.number)
	}
}
