//go:build linux

package main

import (
	"bufio"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/test/rdma/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play runs a step as on one machine, and returns what the console shows but for the
// time that it has taken.
func play(t *testing.T, step plan.Step) ([]plan.Line, error) {
	t.Helper()
	if step.Limit == 0 {
		step.Limit = plan.Duration(time.Minute)
	}
	var out strings.Builder
	err := runner{report: &console{out: &out}, gid: "7"}.run(step)
	var shown []plan.Line
	for line := range strings.Lines(out.String()) {
		l := plan.Parse(line)
		l.Took = 0
		shown = append(shown, l)
	}
	return shown, err
}

func shell(script string) *plan.Command {
	return &plan.Command{Args: []string{"/bin/sh", "-c", script}}
}

func TestAStepIsAServerAndItsClient(t *testing.T) {
	shown, err := play(t, plan.Step{Name: "s", Server: shell("sleep 0.2; echo served"), Client: shell("echo at $GID; printf half")})
	if err != nil {
		t.Fatal(err)
	}
	want := []plan.Line{
		{Kind: plan.Begin, Text: "s"},
		{Kind: plan.Client, Text: "at 7"},
		{Kind: plan.Client, Text: "half"},
		{Kind: plan.Server, Text: "served"},
		{Kind: plan.End, Text: "s"},
	}
	// Who is first is up to the machine.
	sort := func(l []plan.Line) []plan.Line {
		return slices.SortedFunc(slices.Values(l), func(a, b plan.Line) int { return strings.Compare(a.String(), b.String()) })
	}
	if !slices.Equal(sort(shown), sort(want)) || shown[len(shown)-1].Kind != plan.End {
		t.Errorf("%+v", shown)
	}
}

func TestStepsThatFail(t *testing.T) {
	fails := shell("exit 1")
	for name, c := range map[string]struct {
		step plan.Step
		want string
	}{
		"the client":                 {plan.Step{Server: shell("sleep 1000"), Client: fails}, "client: exit status 1"},
		"the server":                 {plan.Step{Server: fails, Client: shell("true")}, "server: exit status 1"},
		"the server before its port": {plan.Step{Server: &plan.Command{Args: fails.Args, Port: 1}}, "ended before it listened"},
		"a program that is missing":  {plan.Step{Client: &plan.Command{Args: []string{"/no/program"}}}, "client: fork/exec /no/program"},
		"time":                       {plan.Step{Client: shell("sleep 1000 & sleep 1000"), Limit: plan.Duration(200 * time.Millisecond)}, "not done in time"},
	} {
		t.Run(name, func(t *testing.T) {
			shown, err := play(t, c.step)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if last := shown[len(shown)-1]; last.Kind == plan.End {
				t.Errorf("%+v", shown)
			}
		})
	}
}

func TestAServerIsThereWhenItListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if !listening(port) {
		t.Error("nobody listens")
	}
	listener.Close()
	if listening(port) {
		t.Error("somebody listens")
	}
}

// TestMachinesMeetAtEveryStep: one that is ahead waits, and does not take the other's
// next word for this one.
func TestMachinesMeetAtEveryStep(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	fast := &neighbour{conn: a, in: bufio.NewReader(a)}
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() {
		in := bufio.NewReader(b)
		for range 3 {
			if _, err := in.ReadString('\n'); err != nil {
				t.Error(err)
			}
		}
	})
	others.Go(func() {
		if _, err := b.Write([]byte("one\ntwo\nfour\n")); err != nil {
			t.Error(err)
		}
	})
	for _, step := range []string{"one", "two"} {
		if err := fast.shake(step); err != nil {
			t.Error(err)
		}
	}
	if err := fast.shake("three"); err == nil || !strings.Contains(err.Error(), `is at "four\n"`) {
		t.Error(err)
	}
	if err := (*neighbour)(nil).shake("alone"); err != nil {
		t.Error(err)
	}
}
