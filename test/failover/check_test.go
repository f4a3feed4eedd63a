//go:build linux

package main

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }

// session is a visit that went well: asked at a, let in 10 ms after its grant at
// b, and left at c.
func session(device, ticket string, a, b, c int) *visit {
	return &visit{requested: at(a), granted: at(b), entered: at(b + 10), left: at(c), device: device, ticket: ticket}
}

func failed(why failure, v *visit) *visit {
	v.failed, v.left, v.why = v.left, time.Time{}, why
	if why != failSession {
		v.entered = time.Time{}
	}
	return v
}

// good is what a run shows that is as it should be.
func good(visits ...*visit) facts {
	return facts{
		lease: 2 * time.Second, settle: time.Second, visits: visits,
		devices: []string{"A", "B"}, free: []string{"B", "A"},
		before: map[string]string{"p-0": "1", "p-1": "2"}, after: map[string]string{"p-0": "1", "p-1": "2"},
	}
}

func with(f facts, change func(*facts)) facts { change(&f); return f }

func TestWhatTheCheckerSays(t *testing.T) {
	cases := map[string]struct {
		facts
		want []string
	}{
		"one after another on a device": {facts: good(session("A", "1", 0, 0, 50), session("A", "2", 0, 60, 100), session("A", "3", 0, 100, 130))},
		"at once on two devices":        {facts: good(session("A", "1", 0, 0, 50), session("B", "2", 0, 0, 50))},
		"a ticket that lets two in":     {facts: good(session("A", "1", 0, 0, 50), session("A", "1", 0, 60, 100)), want: []string{ruleTicket}},
		"a ticket that is shown twice":  {facts: good(session("A", "1", 0, 0, 50), failed(failDoor, session("A", "1", 0, 60, 100)))},
		"two sessions on a device": {
			facts: good(session("A", "1", 0, 0, 50), session("A", "2", 0, 20, 100)), want: []string{ruleAlone, ruleDouble},
		},
		"one session within another, and one more": {
			facts: good(session("A", "1", 0, 0, 200), session("A", "2", 0, 20, 50), session("A", "3", 0, 120, 300)), want: []string{ruleAlone, ruleDouble},
		},
		"two grants, let in one after another":     {facts: good(session("A", "1", 0, 0, 50), session("A", "2", 0, 45, 100)), want: []string{ruleDouble}},
		"a grant of a busy device, refused":        {facts: good(session("A", "1", 0, 0, 50), failed(failDoor, session("A", "2", 0, 20, 30)))},
		"a session that is cut":                    {facts: good(failed(failSession, session("A", "1", 0, 0, 50))), want: []string{ruleCut}},
		"a session that is cut and one meanwhile":  {facts: good(failed(failSession, session("A", "1", 0, 0, 50)), session("A", "2", 0, 30, 90)), want: []string{ruleAlone, ruleCut, ruleDouble}},
		"a request that its tracker did not live":  {facts: good(&visit{requested: at(0), failed: at(3000), why: failTracker})},
		"a client that waits until the end":        {facts: good(&visit{requested: at(0), failed: at(3000), why: failWaiting}), want: []string{ruleWait}},
		"a client that waited far too long":        {facts: good(session("A", "1", 0, 61_000, 61_050)), want: []string{ruleWait}},
		"a device that is not free":                {facts: with(good(), func(f *facts) { f.free = []string{"A"} }), want: []string{ruleLost}},
		"a device that serves nobody":              {facts: with(good(), func(f *facts) { f.idle = []string{"B"} }), want: []string{ruleLost}},
		"a status that is not as before":           {facts: with(good(), func(f *facts) { f.unlike = "1 free" }), want: []string{ruleLost}},
		"a pod that was replaced":                  {facts: with(good(), func(f *facts) { f.after = map[string]string{"p-0": "1", "p-1": "3"} }), want: []string{rulePods}},
		"a pod that is gone":                       {facts: with(good(), func(f *facts) { f.after = map[string]string{"p-0": "1"} }), want: []string{rulePods}},
		"a pod too many":                           {facts: with(good(), func(f *facts) { f.after = map[string]string{"p-0": "1", "p-1": "2", "p-2": "3"} }), want: []string{rulePods}},
		"a pod that was deleted and has come back": {facts: with(good(), func(f *facts) { f.deleted = []string{"p-0"} }), want: []string{rulePods}},
		"an operator that does not end":            {facts: with(good(), func(f *facts) { f.ends = []string{"1"} }), want: []string{ruleEnd}},
		"a process that is left":                   {facts: with(good(), func(f *facts) { f.left = []string{"7"} }), want: []string{ruleLeft}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			v := check(tc.facts)
			slices.Sort(tc.want)
			if diff := cmp.Diff(tc.want, slices.Sorted(maps.Keys(v.broken))); diff != "" {
				t.Errorf("broken (-want +got):\n%s%v", diff, v.violations)
			}
		})
	}
}

func TestGrantsOfBusyDevicesAreCountedByWhoMadeThem(t *testing.T) {
	busy := func(operator, ms int) *visit {
		v := failed(failDoor, session("A", "x", 0, ms, ms+5))
		v.operator = operator
		return v
	}
	f := good(session("A", "1", 0, 0, 100), busy(1, 5), busy(1, 50), busy(2, 60), busy(1, 200))
	f.failovers = []failover{{kind: freeze, victim: 1, at: at(40)}}
	v := check(f)
	if v.busy != 1 || v.busyAwoken != 1 || v.stale != 4 || v.sessions != 1 || v.granted != 5 {
		t.Errorf("%d while busy, %d by one that was frozen, %d stale, %d sessions, %d granted", v.busy, v.busyAwoken, v.stale, v.sessions, v.granted)
	}
}

func TestSessionsThatSawALeaderGo(t *testing.T) {
	f := good(session("A", "1", 0, 0, 100), session("A", "2", 0, 110, 900), session("B", "3", 0, 100, 160), session("B", "4", 0, 170, 180))
	f.failovers = []failover{
		{kind: kill, at: at(150), registered: at(500), granted: at(600)},
		{kind: kill, at: at(700)},
	}
	if v := check(f); v.across != 3 || v.spanning != 1 {
		t.Errorf("%d in progress, %d told to the next", v.across, v.spanning)
	}
}

func TestTheReportHasTheFiguresAndTheRules(t *testing.T) {
	f := good(session("A", "1", 0, 0, 50), session("A", "2", 0, 20, 100))
	f.took = time.Second
	f.failovers = []failover{
		{kind: kill, at: at(0), elected: at(2000), moved: at(2100), registered: at(4600), granted: at(3250)},
		{kind: kill, at: at(10_000), elected: at(12_500), moved: at(12_600), registered: at(12_700), granted: at(13_600)},
		{kind: kill, at: at(20_000)},
		{kind: stop, at: at(30_000), elected: at(30_100), moved: at(30_200), registered: at(30_300), granted: at(31_200)},
	}
	o := &settings{seed: 17}
	var out bytes.Buffer
	if err := o.publish(&out, check(f)); err == nil || !strings.Contains(err.Error(), "seed 17") {
		t.Errorf("error %v", err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"kill: blackout, to the first grant 2 3.25 s 3.60 s 3.60 s",
		"floor in the same run: election and settling 2 3.00 s 3.50 s 3.50 s by the flags 2s and 1s",
		"until another one is elected 2 2.00 s 2.50 s 2.50 s",
		"beyond the floor 2 0.10 s 0.25 s 0.25 s",
		"EndpointSlice to the last server registered 2 0.10 s 2.50 s 2.50 s p99 ≤ 2 s NO",
		"stop: blackout, to the first grant 1 1.20 s",
		"floor in the same run: election and settling 1 1.10 s 1.10 s 1.10 s by the flags 1s",
		"3 leaders killed, 1 stopped, 0 frozen",
		"1 double grants, 0 lost devices",
		"FAIL " + ruleDouble + ": broken 1 times", "ok " + ruleCut,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(text, "freeze: blackout") {
		t.Errorf("a figure without values:\n%s", out.String())
	}
}
