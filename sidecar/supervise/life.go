package supervise

import (
	"errors"
	"fmt"
	"time"
)

// Defaults for what a start command leaves at zero.
const (
	// DefaultStartTimeout bounds the time until a warm worker is ready.
	DefaultStartTimeout = 30 * time.Second
	// DefaultReapTimeout is how long a tree may outlive SIGKILL before it is
	// reported as unkillable.
	DefaultReapTimeout = 10 * time.Second
)

const (
	// lostGrace is how long a worker that closed its control socket may take to
	// end by itself before it is killed: a worker that is ending closes its
	// descriptors a moment before it is dead.
	lostGrace = time.Second
	// selfExitGrace is how much later than a long-lived worker's own watchdog
	// the agent steps in, should that fail.
	selfExitGrace = 40 * time.Millisecond
	// selfExitEarly is by how much the worker's clock reading may be before ours.
	selfExitEarly = time.Millisecond
	// MaxStartExtension bounds, in start timeouts, the time that a worker may
	// take to become ready by asking for more again and again.
	MaxStartExtension = 10
)

// Effect is something that a [Life] asks of the shell around it.
type Effect uint8

// Effects.
const (
	EffectStarted    Effect = iota // tell the sidecar: started
	EffectReady                    // tell the sidecar: ready
	EffectEnded                    // tell the sidecar: the session of a long-lived worker is over
	EffectUnkillable               // tell the sidecar: unkillable
	EffectHandOver                 // give the worker the descriptor of its session
	EffectTerm                     // SIGTERM to every process of the tree
	EffectDump                     // the start's dump signal to the worker's group
	EffectKill                     // SIGKILL to every process of the tree
	EffectSweep                    // look for orphans, kill them, and say so when there are none
	EffectClean                    // remove what is left; the worker is over
)

// step is where a worker is within StateStarting.
type step uint8

const (
	stepForking   step = iota // the starter was asked for a process
	stepLaunching             // the process exists; its program does not run yet, for all we know
	stepWarming               // the program runs and is not ready
)

// timer is something that a life waits for.
type timer uint8

const (
	timerStart     timer = iota // ready by then
	timerSession                // end of the session
	timerHeartbeat              // next heartbeat
	timerPhase                  // end of the phase's budget
	timerLost                   // ended by then, its control socket being closed
	timerDrain                  // end of the last session
	timerKill                   // next step of the kill
	timers
)

// Life is one worker's life as a pure state machine: every method is an event
// with the time at which it happened, and returns what is to be done. It is
// [Transitions] with the facts and the clocks that drive it. The shell calls
// [Life.Tick] at or after [Life.Wake]. It is not safe for concurrent use.
type Life struct {
	state   State
	step    step // in StateStarting
	start   Start
	session *Session // nil: none yet, or none any more
	begun   time.Time
	created time.Time
	due     [timers]time.Time // zero: nothing is

	executed bool  // it is known whether the program runs
	ready    bool  // it said so before that was known
	lost     bool  // its control socket was closed by the worker
	served   bool  // it had a session and its program ran
	reaped   bool  // the worker's own process is gone
	cleaning bool  // its tree is gone, too
	dumping  bool  // in StateTerminating: the dump signal was sent
	phase    Phase // of the session
	protocol bool  // the worker said that its client broke the protocol

	killed  Cause         // why we killed it, if we did
	limit   Limit         // which bound it ran into
	grace   time.Duration // of a kill that came while forking
	failure string        // why it could not serve
	ended   time.Time     // when it was reaped, or its session was over
	exit    Exit

	corePath string
}

// NewLife begins a life: a start was asked for. With a session it is a cold
// worker's, whose deadline runs from now.
func NewLife(now time.Time, start Start, session *Session) *Life {
	if start.StartTimeout <= 0 {
		start.StartTimeout = DefaultStartTimeout
	}
	if start.ReapTimeout <= 0 {
		start.ReapTimeout = DefaultReapTimeout
	}
	l := &Life{start: start, session: session, begun: now, created: now, exit: Exit{Code: -1}}
	l.to(InputStart)
	if session == nil {
		l.due[timerStart] = now.Add(start.StartTimeout)
	} else {
		l.setDeadline(now)
	}
	return l
}

// to makes a transition.
func (l *Life) to(in Input) { l.state, _ = l.state.On(in) }

// State is where the worker is.
func (l *Life) State() State { return l.state }

// Session is the session that the worker has, or had when it died; nil if none.
func (l *Life) Session() *Session { return l.session }

// Start is how the worker was started, defaults filled in.
func (l *Life) Start() Start { return l.start }

// Age is how long the session lasts, or the worker without one.
func (l *Life) Age(now time.Time) time.Duration { return now.Sub(l.begun) }

// Reaped tells whether the worker's own process is gone.
func (l *Life) Reaped() bool { return l.reaped }

// Killed is why we killed it; empty if we did not.
func (l *Life) Killed() Cause { return l.killed }

// Dying tells whether its tree is being killed and waited for.
func (l *Life) Dying() bool {
	return (l.state == StateReaping || l.state == StateDeviceFault) && !l.cleaning
}

// Core tells whether the worker's end left a core dump.
func (l *Life) Core() bool { return l.exit.Core }

// KeptCore says where the core dump was saved.
func (l *Life) KeptCore(path string) { l.corePath = path }

// Unkillable tells whether its tree outlives SIGKILL, so far.
func (l *Life) Unkillable() bool { return l.state == StateDeviceFault && !l.cleaning }

// Wake is when something is due; zero if nothing is.
func (l *Life) Wake() (at time.Time) {
	for _, t := range l.due {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at
}

func (l *Life) setDeadline(now time.Time) {
	if l.session.Timeout <= 0 {
		return
	}
	l.due[timerSession] = now.Add(l.session.Timeout)
	if l.start.LongLived {
		l.due[timerSession] = l.due[timerSession].Add(selfExitGrace)
	}
}

// Refuse says that no process was made, because of failure. The life is over.
func (l *Life) Refuse(failure string) {
	l.failure, l.cleaning = failure, true
	l.due = [timers]time.Time{}
}

// Forked says that the process exists.
func (l *Life) Forked(now time.Time) []Effect {
	l.step = stepLaunching
	if cause := l.killed; cause != "" {
		l.killed = ""
		return l.Kill(now, cause, l.grace)
	}
	return nil
}

// ExecResult says that the worker's program runs, or could not be run because
// of failure; then the process ends by itself.
func (l *Life) ExecResult(now time.Time, failure string) []Effect {
	l.executed = true
	var effects []Effect
	switch {
	case failure != "":
		l.failure = failure
	case l.state != StateStarting:
	case l.session != nil:
		l.to(InputSession)
		l.served = true
		effects = []Effect{EffectStarted}
	default:
		l.step = stepWarming
		effects = []Effect{EffectStarted}
		if l.ready {
			effects = append(effects, l.becomeReady()...)
		}
	}
	if l.reaped {
		return append(effects, l.settle(now)...)
	}
	return effects
}

// SignalReady says that the worker waits for a session; of a long-lived one
// that has a session, that this is over.
func (l *Life) SignalReady(now time.Time) []Effect {
	switch {
	case l.state == StateStarting && l.session == nil && l.step != stepWarming:
		l.ready = true
		return nil
	case l.state == StateStarting && l.session == nil:
		return l.becomeReady()
	case l.start.LongLived && (l.state == StateBusy || l.state == StateDraining):
		return l.sessionOver(now)
	default:
		return nil
	}
}

func (l *Life) becomeReady() []Effect {
	if l.start.LongLived {
		l.to(InputReady)
	} else {
		l.to(InputSpare)
	}
	l.due[timerStart] = time.Time{}
	return []Effect{EffectReady}
}

// sessionOver ends a session that its worker survives. The shell reports it
// before it calls [Life.NextSession].
func (l *Life) sessionOver(now time.Time) []Effect {
	l.due[timerSession], l.due[timerPhase], l.due[timerDrain] = time.Time{}, time.Time{}, time.Time{}
	l.ended = now
	draining := l.state == StateDraining
	l.to(InputReady)
	if l.lost {
		l.due[timerLost] = now.Add(lostGrace)
	}
	if !draining {
		return []Effect{EffectEnded}
	}
	l.killed = CauseKilledDrain
	l.enterKill(now, l.start.KillGrace)
	return []Effect{EffectEnded, EffectTerm}
}

// NextSession forgets the session that is over.
func (l *Life) NextSession() {
	l.session, l.served, l.protocol, l.phase, l.ended = nil, false, false, "", time.Time{}
}

// BrokeProtocol tells whether the worker said so of its client.
func (l *Life) BrokeProtocol() bool { return l.protocol }

// ProtocolError says that a long-lived worker's client broke the protocol.
func (l *Life) ProtocolError() { l.protocol = true }

// ControlLost says that the worker closed its control socket. Without one it
// can get no session, so if it does not end it is killed.
func (l *Life) ControlLost(now time.Time) []Effect {
	ending := l.state != StateStarting && l.state != StateSpare && l.state != StateReady
	if l.lost || l.session != nil && !l.start.LongLived || ending && !l.start.LongLived || l.state >= StateTerminating {
		return nil
	}
	l.lost = true
	if !ending { // with a session, the loss counts when that is over
		l.due[timerLost] = now.Add(lostGrace)
	}
	return nil
}

// GiveSession says that the sidecar has a session for the worker.
func (l *Life) GiveSession(now time.Time, s *Session) ([]Effect, error) {
	switch {
	case l.session != nil:
		return nil, fmt.Errorf("worker has session %q already", l.session.ID)
	case l.state != StateSpare && l.state != StateReady:
		return nil, errors.New("worker is not ready")
	case l.lost:
		return nil, errors.New("worker closed its control socket")
	}
	l.session, l.served, l.begun, l.protocol = s, true, now, false
	l.to(InputSession)
	l.setDeadline(now)
	return []Effect{EffectHandOver}, nil
}

// RejectSession says that the session could not be given to the worker, which
// is of no use any more: its end is the sidecar's answer.
func (l *Life) RejectSession(now time.Time, reason string) []Effect {
	if l.state > StateBusy {
		return nil
	}
	l.served, l.failure = false, reason
	return l.Kill(now, CauseStartFailed, 0)
}

// Beat says that the worker's loop is alive.
func (l *Life) Beat(now time.Time) {
	if l.start.Heartbeat > 0 && l.beats() {
		l.due[timerHeartbeat] = now.Add(l.start.Heartbeat)
	}
}

// Trip says that the worker itself wants to be ended as if its loop had fallen
// silent (WATCHDOG=trigger).
func (l *Life) Trip(now time.Time) []Effect {
	if !l.beats() {
		return nil
	}
	l.failure = "asked to be ended (WATCHDOG=trigger)"
	return l.killFor(now, CauseTimeout, LimitHeartbeat, l.start.KillGrace)
}

// Extend says that the worker asks for d more from now on: to become ready, or
// until its next heartbeat. 0 asks for no heartbeats until the next one comes.
func (l *Life) Extend(now time.Time, d time.Duration) {
	switch {
	case l.state == StateStarting && l.session == nil && d > 0:
		most := l.created.Add(MaxStartExtension * l.start.StartTimeout)
		l.due[timerStart] = earlier(most, later(l.due[timerStart], now.Add(d)))
	case l.due[timerHeartbeat].IsZero():
	case d <= 0:
		l.due[timerHeartbeat] = time.Time{}
	default:
		l.due[timerHeartbeat] = later(l.due[timerHeartbeat], now.Add(d))
	}
}

// beats tells whether heartbeats count in this state.
func (l *Life) beats() bool { return l.state >= StateSpare && l.state <= StateDraining }

// SetPhase says which phase of its session the worker is in; empty: none.
func (l *Life) SetPhase(now time.Time, p Phase) {
	if l.state != StateBusy && l.state != StateDraining {
		return
	}
	l.phase, l.due[timerPhase] = p, time.Time{}
	if budget := l.start.Budgets[p]; budget > 0 {
		l.due[timerPhase] = now.Add(budget)
	}
}

// Exited says that the worker's own process was reaped.
func (l *Life) Exited(now time.Time, e Exit) []Effect {
	l.reaped, l.exit, l.ended = true, e, now
	if !l.executed {
		return nil // the trampoline's last words are on their way
	}
	return l.settle(now)
}

// settle turns to what the dead worker left behind.
func (l *Life) settle(now time.Time) []Effect {
	l.judgeSelfExit()
	if l.state < StateReaping {
		l.to(InputExit)
		l.enterKill(now, l.start.ReapTimeout)
	}
	return []Effect{EffectKill, EffectSweep}
}

// judgeSelfExit tells whether a long-lived worker that ended by itself did so
// because its watchdog had it end: whatever its status, an end at the deadline
// is one.
func (l *Life) judgeSelfExit() {
	if l.killed != "" || !l.start.LongLived || l.session == nil || l.session.Timeout <= 0 {
		return
	}
	if l.ended.Sub(l.begun) >= l.session.Timeout-selfExitEarly {
		l.killed, l.limit = CauseTimeout, LimitSession
	}
}

// TreeGone says that no descendant is left. It counts only after the worker's
// own end.
func (l *Life) TreeGone() []Effect {
	if !l.Dying() || !l.reaped || !l.executed {
		return nil
	}
	l.cleaning = true
	l.due = [timers]time.Time{}
	return []Effect{EffectClean}
}

// Gone says that nothing is left.
func (l *Life) Gone() { l.to(InputGone) }

// Report says how the worker, or the session that is over, ended or, before its
// end, that it does not.
func (l *Life) Report(now time.Time, output []byte) *Report {
	r := &Report{
		Code: l.exit.Code, Signal: l.exit.Signal, Core: l.exit.Core, Error: l.failure, Output: output,
		UserTime: l.exit.UserTime, SysTime: l.exit.SysTime, MaxRSS: l.exit.MaxRSS, PeakMemory: l.exit.PeakMemory,
		Limit: l.limit, CorePath: l.corePath,
	}
	if !l.ended.IsZero() {
		now = l.ended
	}
	r.Wall = now.Sub(l.begun)
	switch {
	case l.cleaning:
		r.Cause = Classify(l.killed, l.served, l.exit)
		if r.Cause == CauseOOM && r.Limit == "" {
			r.Limit = LimitMemory
		}
	case l.state == StateReady || l.state == StateTerminating && !l.reaped && !l.ended.IsZero():
		r.Code, r.Cause, r.Limit = 0, CauseCompleted, ""
		if l.protocol {
			r.Code, r.Cause = ExitProtocol, CauseProtocolError
		}
	default:
		r.Cause = CauseUnkillable
	}
	return r
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
