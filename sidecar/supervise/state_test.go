package supervise

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The whole machine, a row a transition, each with its reason.
var rows = []struct {
	why  string
	from State
	on   Input
	to   State
}{
	{"a place that is free takes a worker", StateStopped, InputStart, StateStarting},
	{"the end that made it free was a failure to start", StateStopped, InputFailed, StateBackoff},

	{"a worker for one session is ready ahead of it", StateStarting, InputSpare, StateSpare},
	{"a long-lived worker is ready", StateStarting, InputReady, StateReady},
	{"a cold worker has its session from the start", StateStarting, InputSession, StateBusy},
	{"one that is not ready yet has nothing to finish", StateStarting, InputDrain, StateTerminating},
	{"it is not ready in time", StateStarting, InputTerm, StateTerminating},
	{"it is to go without a word", StateStarting, InputKill, StateReaping},
	{"it dies before it is ready", StateStarting, InputExit, StateReaping},
	{"no process could be made", StateStarting, InputGone, StateStopped},

	{"a spare gets its session", StateSpare, InputSession, StateBusy},
	{"a spare has nothing to finish", StateSpare, InputDrain, StateTerminating},
	{"a spare is not needed any more", StateSpare, InputTerm, StateTerminating},
	{"a spare is killed", StateSpare, InputKill, StateReaping},
	{"a spare dies", StateSpare, InputExit, StateReaping},

	{"a long-lived worker gets a session", StateReady, InputSession, StateBusy},
	{"a long-lived worker between sessions has nothing to finish", StateReady, InputDrain, StateTerminating},
	{"its loop is silent", StateReady, InputTerm, StateTerminating},
	{"it is killed between sessions", StateReady, InputKill, StateReaping},
	{"it dies between sessions", StateReady, InputExit, StateReaping},

	{"a long-lived worker survives its session", StateBusy, InputReady, StateReady},
	{"the session is the last", StateBusy, InputDrain, StateDraining},
	{"the deadline, or the client is gone", StateBusy, InputTerm, StateTerminating},
	{"a long-lived worker did not end at its deadline", StateBusy, InputKill, StateReaping},
	{"the session ends with its worker, in order or by a crash", StateBusy, InputExit, StateReaping},

	{"the last session of a long-lived worker is over", StateDraining, InputReady, StateTerminating},
	{"the time to finish is over", StateDraining, InputTerm, StateTerminating},
	{"the last session is killed", StateDraining, InputKill, StateReaping},
	{"the last session ends with its worker", StateDraining, InputExit, StateReaping},

	{"asking was not enough", StateTerminating, InputKill, StateReaping},
	{"asking was enough", StateTerminating, InputExit, StateReaping},

	{"the tree outlives SIGKILL", StateReaping, InputOutlived, StateDeviceFault},
	{"nothing is left", StateReaping, InputGone, StateStopped},

	{"what outlived SIGKILL has ended after all", StateDeviceFault, InputGone, StateStopped},

	{"the pause is over", StateBackoff, InputStart, StateStarting},
	{"one failure too many", StateBackoff, InputHold, StateCrashLoop},
	{"a worker that was on its way has proved good", StateBackoff, InputHealthy, StateStopped},

	{"the device is tried again", StateCrashLoop, InputStart, StateStarting},
	{"the trial went well", StateCrashLoop, InputHealthy, StateStopped},
}

func TestEveryTransitionHasItsRow(t *testing.T) {
	type pair struct {
		from State
		on   Input
	}
	known := map[pair]bool{}
	for _, r := range rows {
		t.Run(r.why, func(t *testing.T) {
			if known[pair{r.from, r.on}] {
				t.Fatal("the row stands twice")
			}
			if to, ok := r.from.On(r.on); !ok || to != r.to {
				t.Errorf("%s on %s: %s (counts: %v), want %s", r.from, r.on, to, ok, r.to)
			}
		})
		known[pair{r.from, r.on}] = true
	}
	for _, from := range States() {
		for _, on := range Inputs() {
			if to, ok := from.On(on); !known[pair{from, on}] && (ok || to != from) {
				t.Errorf("%s on %s goes to %s, and there is no row for it", from, on, to)
			}
		}
	}
	if len(Transitions()) != len(rows) {
		t.Errorf("the machine has %d transitions, the table %d rows", len(Transitions()), len(rows))
	}
}

// Whatever state a worker is in, its end is not far: from every state with a
// process two inputs, its exit and that nothing is left, lead to none.
func TestEveryLifeCanEnd(t *testing.T) {
	for _, s := range States() {
		if !s.Live() {
			if to, ok := s.On(InputStart); !ok || to != StateStarting {
				t.Errorf("%s: no worker can be started", s)
			}
			continue
		}
		end, _ := s.On(InputExit)
		end, _ = end.On(InputGone)
		if end != StateStopped {
			t.Errorf("%s: after the exit and the end of its tree it is %s", s, end)
		}
	}
}

func TestStatesAndInputsHaveNames(t *testing.T) {
	names := map[string]bool{}
	for _, s := range States() {
		names[s.String()] = true
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := json.Unmarshal(b, &back); err != nil || back != s {
			t.Errorf("%s comes back as %s, %v", s, back, err)
		}
	}
	for _, in := range Inputs() {
		names[in.String()] = true
	}
	// "ready" is a state and the input that leads to it; so is "spare".
	if want := len(States()) + len(Inputs()) - 2; len(names) != want {
		t.Errorf("%d names, want %d", len(names), want)
	}
	if got := State(200).String() + ", " + Input(200).String(); got != "state 200, input 200" {
		t.Errorf("unknown ones are %s", got)
	}
	var s State
	for _, bad := range []string{`"asleep"`, `7`} {
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("%s is taken for a state", bad)
		}
	}
}

// docs/supervisor.md has a row for every state, with all that leads out of it.
func TestTheDocumentShowsTheMachine(t *testing.T) {
	document, err := os.ReadFile("../../docs/supervisor.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range States() {
		var out []string
		for _, row := range Transitions() {
			if row.From == s {
				out = append(out, fmt.Sprintf("%s → `%s`", row.On, row.To))
			}
		}
		want := fmt.Sprintf("| `%s` | %s |\n", s, strings.Join(out, ", "))
		if !strings.Contains(string(document), want) {
			t.Errorf("docs/supervisor.md lacks the row\n%s", want)
		}
	}
}
