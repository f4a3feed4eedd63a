//go:build linux

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/test/rdma/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestMachinesOfAScenarioMeet: two that have other steps would wait for each other.
func TestMachinesOfAScenarioMeet(t *testing.T) {
	for _, s := range scenarios() {
		plans := s.plans()
		if want := map[bool]int{false: 1, true: 2}[s.two]; len(plans) != want {
			t.Fatalf("%s: %d machines", s.name, len(plans))
		}
		for i, step := range s.steps {
			for _, p := range plans {
				if p.Steps[i].Name != step.Name || p.Steps[i].Limit <= 0 {
					t.Errorf("%s: step %d is %+v", s.name, i, p.Steps[i])
				}
			}
			if s.two && (plans[0].Steps[i].Client != nil || plans[1].Steps[i].Server != nil) {
				t.Errorf("%s: %s is not on the machine where it belongs", s.name, step.Name)
			}
		}
	}
}

// play shows lines of a console to a follower.
func play(s scenario, lines ...plan.Line) (string, *report) {
	var out strings.Builder
	r := &report{out: &out}
	f := &follower{scenario: s, report: r}
	for _, l := range lines {
		f.line(l)
	}
	return out.String(), r
}

func TestWhatIsTold(t *testing.T) {
	count := func(client []string) ([]outcome, error) {
		if len(client) == 0 {
			return nil, errors.New("it has printed nothing")
		}
		return []outcome{{name: "lines", figure: strings.Join(client, "+")}}, nil
	}
	s := scenario{name: "one", steps: []step{
		{Step: plan.Step{Name: "first"}, figures: count},
		{Step: plan.Step{Name: "second"}, figures: count},
		{Step: plan.Step{Name: "third"}, figures: count},
	}}
	text, r := play(s,
		plan.Line{Text: "kernel"},
		plan.Line{Kind: plan.Begin, Text: "first"},
		plan.Line{Kind: plan.Client, Text: "a"},
		plan.Line{Kind: plan.Server, Text: "b"},
		plan.Line{Kind: plan.Client, Text: "c"},
		plan.Line{Kind: plan.End, Text: "first", Took: 1500 * time.Millisecond},
		plan.Line{Kind: plan.Begin, Text: "second"},
		plan.Line{Kind: plan.End, Text: "second", Took: time.Second},
		plan.Line{Kind: plan.Begin, Text: "third"},
		plan.Line{Kind: plan.Client, Text: "what went wrong"},
		plan.Line{Kind: plan.Failed, Text: "third: exit status 1"},
	)
	for _, want := range []string{"ok    one: first: lines", "1.50 s  a+c\n", "FAIL  one: second: it has printed nothing\n", "what went wrong"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if err := r.end("logs"); !errors.Is(err, errFailed) || r.good != 1 || r.wrong != 1 {
		t.Errorf("%d good, %d wrong: %v", r.good, r.wrong, err)
	}
}
