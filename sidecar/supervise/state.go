package supervise

import (
	"encoding/json"
	"fmt"
)

// State is where a worker is in its life, or, while there is none, where the
// place is that a worker is to take. There is one machine for both programs:
// the agent drives a worker's state by what the kernel tells it ([Life]); the
// sidecar follows by the agent's events, and adds what is policy ([Crew]): the
// pauses and holds between one worker and the next.
type State uint8

// States.
const (
	// StateStopped: there is no process, and one may be started.
	StateStopped State = iota
	// StateStarting: the process is being made, or is not ready yet.
	StateStarting
	// StateSpare: ready for its only session.
	StateSpare
	// StateReady: long-lived, ready for its next session.
	StateReady
	// StateBusy: in a session.
	StateBusy
	// StateDraining: in its last session, which may finish.
	StateDraining
	// StateTerminating: asked to end; the grace runs.
	StateTerminating
	// StateReaping: killed, or ended by itself; what is left of its tree is being
	// killed, waited for and removed.
	StateReaping
	// StateBackoff: the last start failed; the next one waits.
	StateBackoff
	// StateCrashLoop holds: so many starts failed that the device is withdrawn.
	// It is tried again, with the pauses of StateBackoff.
	StateCrashLoop
	// StateDeviceFault holds: the tree outlived SIGKILL. Only its end frees the
	// device.
	StateDeviceFault

	states = int(StateDeviceFault) + 1
)

var stateNames = [states]string{
	"stopped", "starting", "spare", "ready", "busy", "draining",
	"terminating", "reaping", "backoff", "crash-loop", "device-fault",
}

// States returns every state, in the order of their values.
func States() []State {
	all := make([]State, states)
	for i := range all {
		all[i] = State(i)
	}
	return all
}

// String returns the state's name.
func (s State) String() string {
	if int(s) >= states {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return stateNames[s]
}

// MarshalJSON writes the state's name.
func (s State) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) } //nolint:wrapcheck // cannot fail

// UnmarshalJSON reads a state's name.
func (s *State) UnmarshalJSON(b []byte) error {
	var name string
	if err := json.Unmarshal(b, &name); err != nil {
		return fmt.Errorf("worker state: %w", err)
	}
	for i, known := range stateNames {
		if name == known {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("worker state %q is unknown", name)
}

// Live tells whether a process may exist in this state.
func (s State) Live() bool {
	switch s {
	case StateStopped, StateBackoff, StateCrashLoop:
		return false
	default:
		return true
	}
}

// Input is what can happen to a worker, or to the place of one.
type Input uint8

// Inputs.
const (
	// InputStart: a process is to be made.
	InputStart Input = iota
	// InputSpare: it waits for its only session.
	InputSpare
	// InputReady: it is long-lived and waits for a session; the one that it had,
	// if any, is over.
	InputReady
	// InputSession: it has a session.
	InputSession
	// InputDrain: the session in progress is the last.
	InputDrain
	// InputTerm: it is asked to end.
	InputTerm
	// InputKill: its tree is killed.
	InputKill
	// InputExit: its process has ended.
	InputExit
	// InputOutlived: its tree outlives SIGKILL.
	InputOutlived
	// InputGone: nothing is left of its tree.
	InputGone
	// InputFailed: the end that just was, was a failure to start.
	InputFailed
	// InputHold: that was one failure too many.
	InputHold
	// InputHealthy: a worker has proved that it can serve.
	InputHealthy

	inputs = int(InputHealthy) + 1
)

var inputNames = [inputs]string{
	"start", "spare", "ready", "session", "drain", "term", "kill", "exit",
	"outlived", "gone", "failed", "hold", "healthy",
}

// Inputs returns every input, in the order of their values.
func Inputs() []Input {
	all := make([]Input, inputs)
	for i := range all {
		all[i] = Input(i)
	}
	return all
}

// String returns the input's name.
func (i Input) String() string {
	if int(i) >= inputs {
		return fmt.Sprintf("input %d", uint8(i))
	}
	return inputNames[i]
}

// Transition is one row of the state machine.
type Transition struct {
	From State
	On   Input
	To   State
}

// Transitions returns the whole machine: every pair of state and input that is
// not in it changes nothing.
func Transitions() []Transition {
	return []Transition{
		{StateStopped, InputStart, StateStarting},
		{StateStopped, InputFailed, StateBackoff},

		{StateStarting, InputSpare, StateSpare},
		{StateStarting, InputReady, StateReady},
		{StateStarting, InputSession, StateBusy}, // cold: the session comes with the start
		{StateStarting, InputDrain, StateTerminating},
		{StateStarting, InputTerm, StateTerminating},
		{StateStarting, InputKill, StateReaping},
		{StateStarting, InputExit, StateReaping},
		{StateStarting, InputGone, StateStopped}, // no process could be made

		{StateSpare, InputSession, StateBusy},
		{StateSpare, InputDrain, StateTerminating},
		{StateSpare, InputTerm, StateTerminating},
		{StateSpare, InputKill, StateReaping},
		{StateSpare, InputExit, StateReaping},

		{StateReady, InputSession, StateBusy},
		{StateReady, InputDrain, StateTerminating},
		{StateReady, InputTerm, StateTerminating},
		{StateReady, InputKill, StateReaping},
		{StateReady, InputExit, StateReaping},

		{StateBusy, InputReady, StateReady},
		{StateBusy, InputDrain, StateDraining},
		{StateBusy, InputTerm, StateTerminating},
		{StateBusy, InputKill, StateReaping},
		{StateBusy, InputExit, StateReaping},

		{StateDraining, InputReady, StateTerminating}, // its last session is over
		{StateDraining, InputTerm, StateTerminating},
		{StateDraining, InputKill, StateReaping},
		{StateDraining, InputExit, StateReaping},

		{StateTerminating, InputKill, StateReaping},
		{StateTerminating, InputExit, StateReaping},

		{StateReaping, InputOutlived, StateDeviceFault},
		{StateReaping, InputGone, StateStopped},

		{StateDeviceFault, InputGone, StateStopped},

		{StateBackoff, InputStart, StateStarting},
		{StateBackoff, InputHold, StateCrashLoop},
		{StateBackoff, InputHealthy, StateStopped},

		{StateCrashLoop, InputStart, StateStarting},
		{StateCrashLoop, InputHealthy, StateStopped},
	}
}

// table is [Transitions] as a matrix; a state that is left as it is stands for
// an input that does not count there.
var table = func() (t [states][inputs]State) {
	for s := range t {
		for i := range t[s] {
			t[s][i] = State(s)
		}
	}
	for _, row := range Transitions() {
		t[row.From][row.On] = row.To
	}
	return t
}()

// On returns the state after an input, and whether the input counts in this
// state; if not, the state stays.
func (s State) On(in Input) (next State, ok bool) {
	next = table[s][in]
	return next, next != s
}
