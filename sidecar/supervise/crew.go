package supervise

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Policy is what [Crew] decides by. Durations must be positive.
type Policy struct {
	// Warm is how many workers to keep started ahead; 0 starts a worker cold for
	// each session. Of long-lived workers at least one is kept.
	Warm int
	// LongLived workers serve one session after another.
	LongLived bool
	// RefillPause is how long after a session has taken a spare the next one is
	// started, unless the session is over before: the start of a process must not
	// slow down the beginning of what the device was asked for.
	RefillPause time.Duration
	// BackoffMin is the pause after the first start that failed; it doubles up
	// to BackoffMax. Each is made up to a fifth longer or shorter by Random, so
	// that servers which failed together do not try again together.
	BackoffMin, BackoffMax time.Duration
	// Random returns a number in [0, 1); nil: pauses are exact.
	Random func() float64
	// QuarantineFailures starts that failed within QuarantineWindow, with none
	// that succeeded between, withdraw the device until a start succeeds.
	QuarantineFailures int
	QuarantineWindow   time.Duration
}

// keep is how many workers are to be started ahead.
func (p Policy) keep() int {
	if p.LongLived {
		return max(p.Warm, 1)
	}
	return p.Warm
}

// jitter is how far a pause may be from what it should be, as a share of it.
const jitter = 0.2

func (p Policy) jittered(pause time.Duration) time.Duration {
	if p.Random == nil {
		return pause
	}
	return time.Duration(float64(pause) * (1 + jitter*(2*p.Random()-1)))
}

// Health says whether the device can serve a session now, and if not, why.
type Health uint8

// Healths, in order of badness.
const (
	// HealthReady: a session would be served at once.
	HealthReady Health = iota
	// HealthStarting: a worker is on its way.
	HealthStarting
	// HealthNoAgent: there is no connection to an agent.
	HealthNoAgent
	// HealthQuarantined: workers do not become ready; probed again with backoff.
	HealthQuarantined
	// HealthFault: a worker outlives SIGKILL; it holds the device.
	HealthFault
)

// String returns the health's name.
func (h Health) String() string {
	return [...]string{"ready", "starting", "no-agent", "quarantined", "device-fault"}[h]
}

// Crew is the policy over all workers of one server: when to start one, which
// one serves, when to wait, when to give up for a while. It follows each worker
// through the states of [Transitions], and is itself in one of those that have
// no process: StateStopped, or StateBackoff and StateCrashLoop after starts that
// failed. It does no I/O, has no clock and no goroutine; the caller passes time
// in and does what [Crew.Plan] says. It is not safe for concurrent use.
type Crew struct {
	policy    Policy
	prefix    string
	seq       int
	connected bool
	workers   map[string]State
	proved    map[string]bool // long-lived workers that have served a session, or the probe
	idle      []string        // spare or ready, the next to serve first
	refill    time.Time       // no spare is started before; zero: whenever one is missing
	hold      State           // StateStopped, StateBackoff or StateCrashLoop
	failures  []time.Time     // starts that failed since the last success, within the window
	streak    int             // the same, without the window: drives the backoff
	notBefore time.Time
	reason    string
}

// NewCrew makes a Crew without workers. Worker names begin with prefix, which
// must differ between sidecars that talk to the same agent one after another.
func NewCrew(p Policy, prefix string) *Crew {
	return &Crew{policy: p, prefix: prefix, workers: map[string]State{}, proved: map[string]bool{}}
}

// Connected says that an agent is there; all earlier workers are gone.
func (c *Crew) Connected() {
	c.connected = true
	c.workers, c.proved = map[string]State{}, map[string]bool{}
	c.idle, c.refill = nil, time.Time{}
}

// Disconnected says that the agent is gone, and its workers with it.
func (c *Crew) Disconnected() {
	c.Connected()
	c.connected = false
}

// Adopt takes over a worker that an earlier sidecar started.
func (c *Crew) Adopt(worker string, s State) { c.workers[worker] = s }

// Has tells whether a worker exists, as far as is known.
func (c *Crew) Has(worker string) bool {
	_, known := c.workers[worker]
	return known
}

// Named tells whether this Crew gave a worker its name.
func (c *Crew) Named(worker string) bool { return strings.HasPrefix(worker, c.prefix+"-") }

// Plan returns how many workers to start ahead now (call [Crew.Start] for each),
// and when to ask again if nothing else happens before (zero: not needed). One
// start is in flight at a time: refilling must not load the machine that the
// next session is measured on.
func (c *Crew) Plan(now time.Time) (starts int, again time.Time) {
	if !c.connected || len(c.in(StateStarting)) > 0 || c.standing() >= c.policy.keep() {
		return 0, time.Time{}
	}
	if next := later(c.notBefore, c.refill); now.Before(next) {
		return 0, next
	}
	return 1, time.Time{}
}

// standing counts the workers that need no replacement: of those that serve one
// session, the spares; of the long-lived, also those in a session.
func (c *Crew) standing() int {
	if !c.policy.LongLived {
		return len(c.idle)
	}
	return len(c.idle) + len(c.in(StateBusy)) + len(c.in(StateDraining))
}

// Start registers the start of a worker ahead of its session and names it.
func (c *Crew) Start() string {
	state, _ := c.hold.On(InputStart)
	return c.add(state)
}

// Ready says that a worker waits for a session. It returns false if that is no
// news, or the worker is not one that could be waiting.
func (c *Crew) Ready(worker string) bool {
	in := InputSpare
	if c.policy.LongLived {
		in = InputReady
	}
	if s, known := c.workers[worker]; !known || s != StateStarting {
		return false
	}
	c.input(worker, in)
	c.idle = append(c.idle, worker)
	return true
}

// Returned says that a long-lived worker's session is over and that it waits
// for the next one. It is the first to get it: what it has loaded is warm.
func (c *Crew) Returned(worker string) {
	if !c.policy.LongLived || c.workers[worker] != StateBusy {
		return
	}
	c.input(worker, InputReady)
	c.idle = append([]string{worker}, c.idle...)
}

// Proved says that a long-lived worker has served: it may be offered.
func (c *Crew) Proved(worker string) {
	if _, known := c.workers[worker]; known {
		c.proved[worker] = true
	}
}

// Healthy forgets failures: a worker has served a session, or passed the probe.
// To say that it is ready proves too little.
func (c *Crew) Healthy() {
	c.hold, _ = c.hold.On(InputHealthy)
	c.failures, c.streak, c.notBefore, c.reason = nil, 0, time.Time{}, ""
}

// Failed counts a failure to become ready and starts the backoff.
func (c *Crew) Failed(now time.Time, reason string) {
	c.reason = reason
	c.failures = append(c.failures, now)
	for len(c.failures) > 0 && now.Sub(c.failures[0]) > c.policy.QuarantineWindow {
		c.failures = c.failures[1:]
	}
	pause := c.policy.BackoffMin << min(c.streak, 30)
	if pause <= 0 || pause > c.policy.BackoffMax {
		pause = c.policy.BackoffMax
	}
	c.streak++
	c.notBefore = now.Add(c.policy.jittered(pause))
	c.hold, _ = c.hold.On(InputFailed)
	if c.policy.QuarantineFailures > 0 && len(c.failures) >= c.policy.QuarantineFailures {
		c.hold, _ = c.hold.On(InputHold)
	}
}

// Take chooses the worker of a new session: the first that waits, or, where
// none are started ahead, a new one to be started cold. A probe takes one that
// has not served yet, a client one that has, where there is one. ok is false if
// there is none at the moment.
func (c *Crew) Take(now time.Time, probe bool) (worker string, cold, ok bool) {
	switch {
	case len(c.idle) > 0:
		i := max(0, slices.IndexFunc(c.idle, func(w string) bool { return c.proved[w] != probe }))
		worker = c.idle[i]
		c.input(worker, InputSession)
		if !c.policy.LongLived {
			c.refill = now.Add(c.policy.RefillPause)
		}
		return worker, false, true
	case c.connected && c.policy.keep() == 0 && !now.Before(c.notBefore):
		worker = c.Start()
		c.input(worker, InputSession)
		return worker, true, true
	default:
		return "", false, false
	}
}

// Terminating says that a worker has been told to die.
func (c *Crew) Terminating(worker string) { c.input(worker, InputTerm) }

// Unkillable says that a worker outlived SIGKILL.
func (c *Crew) Unkillable(worker string) {
	c.input(worker, InputKill)
	c.input(worker, InputOutlived)
}

// Exited says that a worker and its tree are gone. A worker that dies before it
// is given a session counts as a failure to start, unless it is long-lived and
// has served before, or its agent was told to stop; one that dies in a session
// does not: that is what sessions of a tuner do.
func (c *Crew) Exited(now time.Time, worker string, r Report) (counted bool) {
	state, known := c.workers[worker]
	if !known {
		return false
	}
	proved := c.proved[worker]
	c.input(worker, InputExit)
	c.input(worker, InputGone)
	delete(c.workers, worker)
	delete(c.proved, worker)
	c.refill = time.Time{}
	unready := state == StateStarting || state == StateSpare || state == StateReady
	if proved || r.Cause == CauseKilledDrain || !unready && r.Cause != CauseStartFailed {
		return false
	}
	c.Failed(now, r.String())
	return true
}

// Health tells whether a session would be served now.
func (c *Crew) Health() (h Health, reason string) {
	faulty := c.in(StateDeviceFault)
	switch {
	case len(faulty) > 0:
		return HealthFault, fmt.Sprintf("worker %s outlives SIGKILL", strings.Join(faulty, ", "))
	case !c.connected:
		return HealthNoAgent, "no connection to the agent"
	case c.offerable():
		return HealthReady, ""
	case c.hold == StateCrashLoop:
		return HealthQuarantined, c.reason
	case c.policy.keep() == 0 && c.hold == StateStopped:
		return HealthReady, ""
	default:
		return HealthStarting, c.reason
	}
}

// offerable tells whether a worker waits that a client may get.
func (c *Crew) offerable() bool {
	if !c.policy.LongLived {
		return len(c.idle) > 0 && c.hold != StateCrashLoop
	}
	return slices.ContainsFunc(c.idle, func(w string) bool { return c.proved[w] })
}

// NeedsProbe tells whether a worker should be tried now, before any client is
// let in: a long-lived one that has not served yet, if there is no other; a spare
// of a device that is withdrawn; and where none are started ahead, after a start
// that failed, for nothing else would show that they start again. A probe that
// goes well is [Crew.Healthy] and [Crew.Proved].
func (c *Crew) NeedsProbe(now time.Time) bool {
	switch {
	case !c.connected || len(c.in(StateDeviceFault)) > 0:
		return false
	case c.policy.LongLived:
		return len(c.idle) > 0 && !c.offerable()
	case len(c.idle) > 0:
		return c.hold == StateCrashLoop
	default:
		return c.policy.keep() == 0 && c.hold != StateStopped && !now.Before(c.notBefore)
	}
}

// NotBefore is when a failed start may be tried again; zero if none failed.
func (c *Crew) NotBefore() time.Time { return c.notBefore }

// in returns the workers that are in a state, sorted.
func (c *Crew) in(s State) []string {
	var names []string
	for worker, state := range c.workers {
		if state == s {
			names = append(names, worker)
		}
	}
	slices.Sort(names)
	return names
}

func (c *Crew) add(s State) string {
	c.seq++
	worker := fmt.Sprintf("%s-%d", c.prefix, c.seq)
	c.workers[worker] = s
	return worker
}

// input moves a worker that is known from one state to the next.
func (c *Crew) input(worker string, in Input) {
	old, known := c.workers[worker]
	if !known {
		return
	}
	c.workers[worker], _ = old.On(in)
	if i := slices.Index(c.idle, worker); i >= 0 && in != InputSpare && in != InputReady {
		c.idle = slices.Delete(c.idle, i, i+1)
	}
}
