package agent

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// phase is where a worker is in its life; the package comment has the picture.
type phase uint8

const (
	forking     phase = iota // the starter was asked for a process
	launching                // the process exists; its program does not run yet, for all we know
	warming                  // the program runs and is not ready
	spare                    // ready, without a session
	busy                     // has its session
	terminating              // SIGTERM was sent
	killing                  // SIGKILL was sent, or the worker ended by itself; its tree may live
	cleaning                 // the tree is gone; what it left is being removed
)

// effect is something that a [life] asks of the shell around it.
type effect uint8

const (
	emitStarted    effect = iota // tell the sidecar
	emitReady                    // tell the sidecar
	emitUnkillable               // tell the sidecar
	handOver                     // give the worker the descriptor of its session
	sendTerm                     // SIGTERM to every process of the tree
	sendKill                     // SIGKILL to every process of the tree
	sweep                        // look for orphans, kill them, and say so when there are none
	clean                        // remove what is left; the worker is over
)

// exit is the end of a worker's own process.
type exit struct {
	code     int            // -1 if a signal ended it
	signal   syscall.Signal // 0 if none did
	core     bool           // the signal left a core dump
	userTime time.Duration
	sysTime  time.Duration
	maxRSS   int64 // bytes
	oom      bool  // the kernel's out-of-memory counter grew during its life
}

// life is one worker's life as a pure state machine: every method is an event
// with the time at which it happened, and returns what is to be done. The
// shell calls [life.tick] at or after wake.
type life struct {
	phase   phase
	start   supervise.Start
	session *supervise.Session // nil: warm, none yet
	begun   time.Time          // start, then hand-over of the session
	wake    time.Time          // when something is due; zero: nothing is

	executed   bool // it is known whether the program runs
	ready      bool // 'R' was seen
	lost       bool // the control socket was closed by the worker
	served     bool // it had a session and its program ran
	reaped     bool // the worker's own process is gone
	unkillable bool

	killed  supervise.Cause // why we killed it, if we did
	grace   time.Duration   // of a kill that came while forking
	failure string          // why it could not serve
	ended   time.Time       // when it was reaped
	exit    exit
}

// newLife begins a life. With a session it is a cold worker's, whose deadline
// runs from now.
func newLife(now time.Time, start supervise.Start, session *supervise.Session) *life {
	if start.StartTimeout <= 0 {
		start.StartTimeout = DefaultStartTimeout
	}
	if start.ReapTimeout <= 0 {
		start.ReapTimeout = DefaultReapTimeout
	}
	l := &life{start: start, session: session, begun: now, exit: exit{code: -1}}
	if session == nil {
		l.wake = now.Add(start.StartTimeout)
	} else {
		l.setDeadline(now)
	}
	return l
}

func (l *life) setDeadline(now time.Time) {
	l.wake = time.Time{}
	if l.session.Timeout > 0 {
		l.wake = now.Add(l.session.Timeout)
	}
}

// forked: the process exists.
func (l *life) forked(now time.Time) []effect {
	l.phase = launching
	if cause := l.killed; cause != "" {
		l.killed = ""
		return l.kill(now, cause, l.grace)
	}
	return nil
}

// execResult: the worker's program runs, or could not be run because of
// failure; then the process ends by itself.
func (l *life) execResult(now time.Time, failure string) []effect {
	l.executed = true
	var effects []effect
	switch {
	case failure != "":
		l.failure = failure
	case l.phase != launching:
	case l.session != nil:
		l.phase, l.served = busy, true
		effects = []effect{emitStarted}
	default:
		l.phase = warming
		effects = []effect{emitStarted}
		if l.ready {
			effects = append(effects, l.becomeSpare()...)
		}
	}
	if l.reaped {
		return append(effects, l.settle(now)...)
	}
	return effects
}

// signalReady: the worker wrote 'R'.
func (l *life) signalReady() []effect {
	l.ready = true
	if l.phase == warming {
		return l.becomeSpare()
	}
	return nil
}

func (l *life) becomeSpare() []effect {
	l.phase = spare
	if !l.lost {
		l.wake = time.Time{}
	}
	return []effect{emitReady}
}

// controlLost: a warm worker closed its control socket. Without one it can get
// no session, so if it does not end it is killed.
func (l *life) controlLost(now time.Time) []effect {
	if l.session != nil || l.phase > spare {
		return nil
	}
	l.lost = true
	l.wake = now.Add(lostGrace)
	return nil
}

// giveSession: the sidecar has a session for the worker.
func (l *life) giveSession(now time.Time, s *supervise.Session) ([]effect, error) {
	switch {
	case l.session != nil:
		return nil, fmt.Errorf("worker has session %q already", l.session.ID)
	case l.phase != spare:
		return nil, errors.New("worker is not ready")
	case l.lost:
		return nil, errors.New("worker closed its control socket")
	}
	l.session = s
	l.phase, l.served, l.begun = busy, true, now
	l.setDeadline(now)
	return []effect{handOver}, nil
}

// rejectSession: the session could not be given to the worker, which is of no
// use any more: its end is the sidecar's answer.
func (l *life) rejectSession(now time.Time, reason string) []effect {
	if l.phase > busy {
		return nil
	}
	l.served, l.failure = false, reason
	return l.kill(now, supervise.CauseStartFailed, 0)
}

// kill: somebody wants the worker ended. The first cause stays; a later call
// can only shorten the grace.
func (l *life) kill(now time.Time, cause supervise.Cause, grace time.Duration) []effect {
	if l.reaped || l.phase >= killing {
		return nil
	}
	if l.phase == forking {
		if l.killed == "" || grace < l.grace {
			l.grace = grace
		}
		l.wake = time.Time{}
	}
	if l.killed == "" {
		l.killed = cause
	}
	switch {
	case l.phase == forking:
		return nil
	case grace <= 0:
		return l.hardKill(now)
	case l.phase == terminating:
		if until := now.Add(grace); until.Before(l.wake) {
			l.wake = until
		}
		return nil
	}
	l.phase, l.wake = terminating, now.Add(grace)
	return []effect{sendTerm}
}

func (l *life) hardKill(now time.Time) []effect {
	l.phase, l.wake = killing, now.Add(l.start.ReapTimeout)
	return []effect{sendKill, sweep}
}

// tick: time has passed. Calls before wake do nothing.
func (l *life) tick(now time.Time) []effect {
	if l.wake.IsZero() || now.Before(l.wake) {
		return nil
	}
	l.wake = time.Time{}
	switch {
	case l.phase == cleaning:
		return nil
	case l.phase == killing:
		l.unkillable = true
		return []effect{emitUnkillable}
	case l.phase == terminating:
		return l.hardKill(now)
	case l.session != nil:
		return l.kill(now, supervise.CauseTimeout, l.start.KillGrace)
	case l.lost:
		l.failure = "closed its control socket"
	default:
		l.failure = fmt.Sprintf("not ready within %v", l.start.StartTimeout)
	}
	return l.kill(now, supervise.CauseStartFailed, l.start.KillGrace)
}

// exited: the worker's own process was reaped.
func (l *life) exited(now time.Time, e exit) []effect {
	l.reaped, l.exit, l.ended = true, e, now
	if !l.executed {
		return nil // the trampoline's last words are on their way
	}
	return l.settle(now)
}

// settle turns to what the dead worker left behind.
func (l *life) settle(now time.Time) []effect {
	if l.phase != killing {
		l.phase, l.wake = killing, now.Add(l.start.ReapTimeout)
	}
	return []effect{sendKill, sweep}
}

// treeGone: no descendant is left. It counts only after the worker's own end.
func (l *life) treeGone() []effect {
	if l.phase != killing || !l.reaped || !l.executed {
		return nil
	}
	l.phase, l.wake = cleaning, time.Time{}
	return []effect{clean}
}

// report says how the worker ended or, before its end, that it does not.
func (l *life) report(now time.Time, output []byte) *supervise.Report {
	r := &supervise.Report{
		Code: l.exit.code, Signal: l.exit.signal, Core: l.exit.core, Error: l.failure, Output: output,
		UserTime: l.exit.userTime, SysTime: l.exit.sysTime, MaxRSS: l.exit.maxRSS,
	}
	if l.reaped {
		now = l.ended
	}
	r.Wall = now.Sub(l.begun)
	if l.phase != cleaning {
		r.Cause = supervise.CauseUnkillable
		return r
	}
	r.Cause = supervise.Classify(supervise.Exit{
		Code: l.exit.code, Signal: l.exit.signal, Killed: l.killed, OOM: l.exit.oom, Served: l.served,
	})
	return r
}
