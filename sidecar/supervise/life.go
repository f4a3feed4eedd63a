package supervise

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is where a worker is in its life.
type State uint8

// States of a worker. A worker that has exited is not in any of them: it is
// forgotten when its tree is gone.
const (
	// StateStarting: the process is being started and is not ready yet.
	StateStarting State = iota + 1
	// StateSpare: ready, waiting for a session.
	StateSpare
	// StateBusy: in a session.
	StateBusy
	// StateTerminating: told to die, not gone yet.
	StateTerminating
	// StateFaulty: outlived SIGKILL. The device is unusable while one exists.
	StateFaulty
)

// String returns the state's name.
func (s State) String() string {
	return [...]string{"unknown", "starting", "spare", "busy", "terminating", "faulty"}[s]
}

// Policy is what [Life] decides by. Durations must be positive.
type Policy struct {
	// Warm is how many spares to keep; 0 starts a worker cold for each session.
	Warm int
	// BackoffMin is the pause after the first start that failed; it doubles up
	// to BackoffMax.
	BackoffMin, BackoffMax time.Duration
	// QuarantineFailures starts that failed within QuarantineWindow, with none
	// that succeeded between, withdraw the device until a start succeeds.
	QuarantineFailures int
	QuarantineWindow   time.Duration
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

// Life is the policy over all workers of one server: when to start one, which
// one serves, when to wait, when to give up for a while. It does no I/O, has no
// clock and no goroutine; the caller passes time in and does what [Life.Plan]
// says. It is not safe for concurrent use.
type Life struct {
	policy    Policy
	prefix    string
	seq       int
	connected bool
	workers   map[string]State
	spares    []string    // oldest first
	failures  []time.Time // starts that failed since the last success, within the window
	streak    int         // the same, without the window: drives the backoff
	notBefore time.Time
	reason    string
}

// NewLife makes a Life without workers. Worker names begin with prefix, which
// must differ between sidecars that talk to the same agent one after another.
func NewLife(p Policy, prefix string) *Life {
	return &Life{policy: p, prefix: prefix, workers: map[string]State{}}
}

// Connected says that an agent is there; all earlier workers are gone.
func (l *Life) Connected() {
	l.connected = true
	l.workers = map[string]State{}
	l.spares = nil
}

// Disconnected says that the agent is gone, and its workers with it.
func (l *Life) Disconnected() {
	l.Connected()
	l.connected = false
}

// Adopt takes over a worker that an earlier sidecar started.
func (l *Life) Adopt(worker string, s State) { l.workers[worker] = s }

// Named tells whether this Life gave a worker its name.
func (l *Life) Named(worker string) bool { return strings.HasPrefix(worker, l.prefix+"-") }

// Plan returns how many warm workers to start now (call [Life.Start] for each),
// and when to ask again if nothing else happens before (zero: not needed). One
// start is in flight at a time: refilling must not load the machine that the
// next session is measured on.
func (l *Life) Plan(now time.Time) (starts int, again time.Time) {
	if !l.connected || len(l.in(StateStarting)) > 0 || len(l.spares) >= l.policy.Warm {
		return 0, time.Time{}
	}
	if now.Before(l.notBefore) {
		return 0, l.notBefore
	}
	return 1, time.Time{}
}

// Start registers the start of a warm worker and names it.
func (l *Life) Start() string { return l.add(StateStarting) }

// Ready says that a worker waits for a session. It returns false if the worker
// is not one that was starting.
func (l *Life) Ready(worker string) bool {
	if l.workers[worker] != StateStarting {
		return false
	}
	l.workers[worker] = StateSpare
	l.spares = append(l.spares, worker)
	return true
}

// Healthy forgets failures: a worker has served a session, or passed the probe.
// To say that it is ready proves too little.
func (l *Life) Healthy() {
	l.failures, l.streak, l.notBefore, l.reason = nil, 0, time.Time{}, ""
}

// Failed counts a failure to become ready and starts the backoff.
func (l *Life) Failed(now time.Time, reason string) {
	l.reason = reason
	l.failures = append(l.failures, now)
	for len(l.failures) > 0 && now.Sub(l.failures[0]) > l.policy.QuarantineWindow {
		l.failures = l.failures[1:]
	}
	pause := l.policy.BackoffMin << min(l.streak, 30)
	if pause <= 0 || pause > l.policy.BackoffMax {
		pause = l.policy.BackoffMax
	}
	l.streak++
	l.notBefore = now.Add(pause)
}

// Take chooses the worker of a new session: the oldest spare, or, where no
// spares are kept, a new one to be started cold. ok is false if there is none
// at the moment.
func (l *Life) Take(now time.Time) (worker string, cold, ok bool) {
	switch {
	case len(l.spares) > 0:
		worker = l.spares[0]
		l.spares = l.spares[1:]
		l.workers[worker] = StateBusy
		return worker, false, true
	case l.connected && l.policy.Warm == 0 && !now.Before(l.notBefore):
		return l.add(StateBusy), true, true
	default:
		return "", false, false
	}
}

// Terminating says that a worker has been told to die.
func (l *Life) Terminating(worker string) {
	if _, ok := l.workers[worker]; ok {
		l.drop(worker)
		l.workers[worker] = StateTerminating
	}
}

// Unkillable says that a worker outlived SIGKILL.
func (l *Life) Unkillable(worker string) {
	l.drop(worker)
	l.workers[worker] = StateFaulty
}

// Exited says that a worker and its tree are gone. A worker that dies before it
// is given a session counts as a failure to start; one that dies in a session
// does not: that is what sessions of a tuner do.
func (l *Life) Exited(now time.Time, worker string, r Report) {
	state, known := l.workers[worker]
	if !known {
		return
	}
	l.drop(worker)
	delete(l.workers, worker)
	if state == StateStarting || state == StateSpare || r.Cause == CauseStartFailed {
		l.Failed(now, r.String())
	}
}

// Health tells whether a session would be served now.
func (l *Life) Health() (h Health, reason string) {
	faulty := l.in(StateFaulty)
	switch {
	case len(faulty) > 0:
		return HealthFault, fmt.Sprintf("worker %s outlives SIGKILL", strings.Join(faulty, ", "))
	case !l.connected:
		return HealthNoAgent, "no connection to the agent"
	case len(l.spares) > 0:
		return HealthReady, ""
	case l.policy.QuarantineFailures > 0 && len(l.failures) >= l.policy.QuarantineFailures:
		return HealthQuarantined, l.reason
	case l.policy.Warm == 0 && l.streak == 0:
		return HealthReady, ""
	default:
		return HealthStarting, l.reason
	}
}

// NeedsProbe tells whether a worker should be tried now, before any client is
// let in: where no spares are kept, nothing else would show that workers start
// again after one did not. A probe that goes well is [Life.Healthy].
func (l *Life) NeedsProbe(now time.Time) bool {
	return l.connected && l.policy.Warm == 0 && l.streak > 0 && !now.Before(l.notBefore) && len(l.in(StateFaulty)) == 0
}

// NotBefore is when a failed start may be tried again; zero if none failed.
func (l *Life) NotBefore() time.Time { return l.notBefore }

// in returns the workers that are in a state, sorted.
func (l *Life) in(s State) []string {
	var names []string
	for worker, state := range l.workers {
		if state == s {
			names = append(names, worker)
		}
	}
	slices.Sort(names)
	return names
}

func (l *Life) add(s State) string {
	l.seq++
	worker := fmt.Sprintf("%s-%d", l.prefix, l.seq)
	l.workers[worker] = s
	return worker
}

// drop takes a worker out of the spares.
func (l *Life) drop(worker string) {
	for i, w := range l.spares {
		if w == worker {
			l.spares = append(l.spares[:i:i], l.spares[i+1:]...)
			return
		}
	}
}
