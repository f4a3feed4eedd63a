package supervise

import (
	"fmt"
	"time"
)

// This file is the end of a [Life]: who wants it, and the steps of the kill.

// Exceeded says that the worker's tree uses more of what the kernel does not
// bound than it may; failure says so to people.
func (l *Life) Exceeded(now time.Time, limit Limit, failure string) []Effect {
	if l.killed == "" && !l.reaped {
		l.failure = failure
	}
	return l.killFor(now, CauseOOM, limit, 0)
}

// Drain says that the worker is to end: at once if it has no session, else when
// that is over or, at the latest, at the given time.
func (l *Life) Drain(now, by time.Time) []Effect {
	if l.state != StateBusy {
		return l.Kill(now, CauseKilledDrain, l.start.KillGrace)
	}
	l.to(InputDrain)
	l.due[timerDrain] = by
	return nil
}

// Kill says that somebody wants the worker ended. The first cause stays; a
// later call can only shorten the grace.
func (l *Life) Kill(now time.Time, cause Cause, grace time.Duration) []Effect {
	return l.killFor(now, cause, "", grace)
}

func (l *Life) killFor(now time.Time, cause Cause, limit Limit, grace time.Duration) []Effect {
	if l.reaped || l.state >= StateReaping {
		return nil
	}
	forking := l.state == StateStarting && l.step == stepForking
	if forking {
		if l.killed == "" || grace < l.grace {
			l.grace = grace
		}
		l.due = [timers]time.Time{}
	}
	if l.killed == "" {
		l.killed, l.limit = cause, limit
	}
	switch {
	case forking:
		return nil
	case grace <= 0:
		return l.hardKill(now)
	case l.state == StateTerminating:
		if until := now.Add(grace); until.Before(l.due[timerKill]) {
			l.due[timerKill] = until
		}
		return nil
	}
	l.to(InputTerm)
	l.enterKill(now, grace)
	return []Effect{EffectTerm}
}

// enterKill leaves only the kill's own timer running.
func (l *Life) enterKill(now time.Time, wait time.Duration) {
	l.due = [timers]time.Time{timerKill: now.Add(wait)}
}

func (l *Life) hardKill(now time.Time) []Effect {
	l.to(InputKill)
	l.enterKill(now, l.start.ReapTimeout)
	return []Effect{EffectKill, EffectSweep}
}

// Tick says that time has passed. Calls before [Life.Wake] do nothing.
func (l *Life) Tick(now time.Time) []Effect {
	for t := range timers {
		if at := l.due[t]; !at.IsZero() && !now.Before(at) {
			l.due[t] = time.Time{}
			return l.expired(now, t, at)
		}
	}
	return nil
}

// expired does what a timer, which was due at a time, was for.
func (l *Life) expired(now time.Time, t timer, at time.Time) []Effect {
	grace := l.start.KillGrace
	switch t {
	case timerStart:
		l.failure = fmt.Sprintf("not ready within %v", at.Sub(l.created))
		return l.killFor(now, CauseStartFailed, LimitStart, grace)
	case timerSession:
		if l.start.LongLived {
			grace = 0 // it has had its chance
		}
		return l.killFor(now, CauseTimeout, LimitSession, grace)
	case timerHeartbeat:
		l.failure = fmt.Sprintf("no heartbeat within %v", l.start.Heartbeat)
		return l.killFor(now, CauseTimeout, LimitHeartbeat, grace)
	case timerPhase:
		l.failure = fmt.Sprintf("phase %q took over %v", l.phase, l.start.Budgets[l.phase])
		return l.killFor(now, CauseTimeout, Limit(l.phase), grace)
	case timerLost:
		l.failure = "closed its control socket"
		return l.killFor(now, CauseStartFailed, "", grace)
	case timerDrain:
		return l.killFor(now, CauseKilledDrain, "", grace)
	default:
		return l.killStep(now)
	}
}

// killStep is what follows when asking, or killing, was not enough.
func (l *Life) killStep(now time.Time) []Effect {
	switch {
	case l.state == StateTerminating && l.start.Dump != 0 && !l.dumping:
		l.dumping = true
		l.enterKill(now, DumpTime)
		return []Effect{EffectDump}
	case l.state == StateTerminating:
		return l.hardKill(now)
	case l.state == StateReaping && !l.cleaning:
		l.to(InputOutlived)
		return []Effect{EffectUnkillable}
	default:
		return nil
	}
}
