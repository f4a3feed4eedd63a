//go:build linux

package main

import (
	"fmt"

	"rpcpool.dev/sidecar/supervise"
)

// outcome is how a session may be recorded.
type outcome struct {
	cause  supervise.Cause
	code   int // exit status; any: whatever
	signal int
}

// any stands for every exit status.
const anyCode = -2

func (o outcome) String() string {
	switch {
	case o.signal != 0:
		return fmt.Sprintf("%s %d", o.cause, o.signal)
	case o.code == anyCode:
		return string(o.cause)
	default:
		return fmt.Sprintf("%s %d", o.cause, o.code)
	}
}

// matches tells whether a record is of this outcome.
func (o outcome) matches(r record) bool {
	return string(o.cause) == r.cause && (o.code == anyCode || o.code == r.code) && (o.signal == 0 || o.signal == r.signal)
}

func bare(c supervise.Cause) outcome   { return outcome{cause: c, code: anyCode} }
func signalled(signal int) outcome     { return outcome{supervise.CauseCrashSignal, anyCode, signal} }
func exited(code int) outcome          { return outcome{supervise.CauseCrashExit, code, 0} }
func either(list ...outcome) []outcome { return list }

// Signals, as numbers of Linux on every architecture that it runs on.
const (
	sigIll  = 4
	sigAbrt = 6
	sigKill = 9
	sigSegv = 11
)

// allowed lists how a program's session may be recorded if no kill touched it.
func (p program) allowed() []outcome {
	completed, gone := bare(supervise.CauseCompleted), bare(supervise.CauseClientGone)
	protocol, timeout := bare(supervise.CauseProtocolError), bare(supervise.CauseTimeout)
	switch p.way {
	case wayGood, wayExit0, wayLeakFD, wayGrandchildren, wayForkBomb, wayHog:
		return either(completed)
	case waySegfault:
		return either(signalled(sigSegv))
	case wayIllegal:
		return either(signalled(sigIll))
	case wayAbort:
		return either(signalled(sigAbrt))
	case wayExit, wayExitThread:
		if p.arg == supervise.ExitProtocol {
			return either(protocol)
		}
		return either(exited(p.arg))
	case wayPanic, wayStackOverflow:
		return either(exited(2))
	case wayDeadlock:
		return either(exited(2), timeout)
	case waySpin, wayIgnoreSigterm, waySigstop, wayHold, wayMute:
		return either(timeout)
	case wayCloseFDs:
		return either(exited(anyCode))
	case wayHogOver:
		return either(bare(supervise.CauseOOM))
	case wayVanish, wayVanishRST, wayHalfCall:
		return either(gone)
	case wayJunk:
		return either(protocol)
	case wayCutPacket, wayJunkLeave: // it breaks the protocol, and leaves
		return either(gone, protocol)
	default: // the client leaves between two calls: whoever notices first
		return either(completed, gone)
	}
}

// touched lists how else a session may be recorded that a kill may have touched.
func (k hitKind) outcomes() []outcome {
	dead := bare(supervise.CauseCrashSignal)
	failed, drained := bare(supervise.CauseStartFailed), bare(supervise.CauseKilledDrain)
	switch k {
	case hitWorker:
		return either(signalled(sigKill), failed)
	case hitAgent:
		return either(dead, failed)
	case hitSidecar: // its successor does not know that the client went first
		return either(exited(anyCode), bare(supervise.CauseProtocolError), failed)
	case hitTermSidecar:
		return either(drained)
	case hitTermAgent, hitTermServe, hitGuard: // an agent does not work without its guard: it stops
		return either(drained, dead, failed)
	case hitBoth, hitServe:
		return either(dead, failed, drained)
	case hitStop, hitStopKill:
		return either(dead, failed, drained, bare(supervise.CauseTimeout), bare(supervise.CauseClientGone), bare(supervise.CauseUnkillable))
	default: // a tracker has no part in sessions
		return nil
	}
}

// said lists the ends by which a client may learn of a cause where no kill
// touched the session.
func (w way) said(c supervise.Cause) []end {
	switch {
	case w == wayGarbage:
		return []end{endGarbage, endOwn, endEOF, endReset, endException}
	case c == supervise.CauseTimeout, c == supervise.CauseCrashExit, c == supervise.CauseCrashSignal, c == supervise.CauseOOM:
		return []end{endException}
	case w == wayExit0, w == wayJunk, w == wayJunkLeave, w == wayExit, w == wayExitThread:
		return []end{endEOF, endReset}
	default:
		return []end{endOwn, endEOF, endReset}
	}
}
