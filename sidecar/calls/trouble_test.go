package calls

import (
	"errors"
	"os"
	"testing"
	"time"

	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/workers"
	"rpcpool.dev/rpc/workers/direct"
)

// TestWhatIsWrongIsToldAtRest: it is told at once, stays the same as long as the reason is,
// and is over when a worker has served for a while.
func TestWhatIsWrongIsToldAtRest(t *testing.T) {
	const usage = "end before they serve: status 2: usage: worker.py"
	var trouble trouble
	now := time.Unix(0, 0)
	for _, step := range []struct {
		what   string
		after  time.Duration
		serves bool
		text   string
		want   string
	}{
		{"nothing is known", 0, false, "", ""},
		{"one has ended", time.Second, false, usage + " (pid 1)", usage + " (pid 1)"},
		{"the next as well", time.Second, false, usage + " (pid 22)", usage + " (pid 1)"},
		{"much later, too", time.Hour, false, usage + " (pid 333)", usage + " (pid 1)"},
		{"now by a signal, whatever it says", time.Second, false, "end before they serve: signal 11: usage: worker.py (pid 4)", "end before they serve: signal 11: usage: worker.py (pid 4)"},
		{"it says something else each time", time.Second, false, "end before they serve: signal 11: a", "end before they serve: signal 11: usage: worker.py (pid 4)"},
		{"which is heard once a minute", time.Minute, false, "end before they serve: signal 11: b", "end before they serve: signal 11: b"},
		{"one is ready", time.Second, true, "", "end before they serve: signal 11: b"},
		{"and has ended", time.Second, false, "end before they serve: signal 11: b", "end before they serve: signal 11: b"},
		{"one is ready again", time.Hour, true, "", "end before they serve: signal 11: b"},
		{"and serves", 10 * time.Second, true, "", ""},
		{"until it ends", time.Second, false, usage, usage},
	} {
		now = now.Add(step.after)
		if got := trouble.next(now, step.serves, step.text); got != step.want {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}
}

func TestWhyWorkersDoNotServe(t *testing.T) {
	usage := crash.Report{Cause: crash.StartFailed, Status: 2, PID: 77, Output: []byte("usage: worker.py\n")}
	for want, err := range map[string]error{
		"": nil,
		"end before they serve: status 2: usage: worker.py":    &workers.UnservedError{Report: usage, Err: workers.ErrNoWorker},
		"end before they serve: signal 11":                     &workers.UnservedError{Report: crash.Report{Signal: 11, Status: -1}},
		"do not become ready: no handshake within 30s":         &workers.UnservedError{Report: crash.Report{Signal: 9, Status: -1}, Err: errors.New("no handshake within 30s")},
		"cannot be started: fork/exec worker.py: no such file": errors.New("fork/exec worker.py: no such file"),
	} {
		if got := whyNot(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// TestTheRegistryIsToldWhyNoWorkerServes, as its operator shows it to people.
func TestTheRegistryIsToldWhyNoWorkerServes(t *testing.T) {
	h := newHome(t)
	starter, err := direct.New(direct.Command{Path: os.Args[0], Env: []string{"WORKER=unfit"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = starter.Close() })
	h.join(Options{Starter: starter}, JoinOptions{Name: "text-0/uid"})
	var said string
	eventually(t, "the registry knows it", func() bool {
		for _, i := range h.host.Instances() {
			said = naming.ParseNote(i.Note).Workers
		}
		return said != ""
	})
	if want := "end before they serve: status 2: usage: worker.py [-h]"; said != want {
		t.Errorf("%q, want %q", said, want)
	}
}
