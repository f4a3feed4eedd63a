package supervise

import (
	"syscall"
	"time"
)

// Cause says how a worker, and with it its session, ended. The set is closed:
// the same words stand on the wire, in metrics, in logs and in the docs.
type Cause string

// All causes.
const (
	// CauseCompleted: the worker ended the session in order (exit 0).
	CauseCompleted Cause = "completed"
	// CauseClientGone: the client went away and the worker did not end by itself.
	CauseClientGone Cause = "client-gone"
	// CauseTimeout: the session reached its deadline, or another bound on time
	// ([Limit]), and was killed.
	CauseTimeout Cause = "timeout"
	// CauseCrashSignal: the worker died of a signal that nobody here sent.
	CauseCrashSignal Cause = "crash-signal"
	// CauseCrashExit: the worker ended by itself with a non-zero status.
	CauseCrashExit Cause = "crash-exit"
	// CauseOOM: the worker ran out of what it was given: the kernel killed it
	// because memory ran out, or its work directory grew over its limit.
	CauseOOM Cause = "oom"
	// CauseStartFailed: the worker never became ready to serve.
	CauseStartFailed Cause = "start-failed"
	// CauseKilledDrain: the server was told to stop and the drain time was over.
	CauseKilledDrain Cause = "killed-drain"
	// CauseUnkillable: the worker outlived SIGKILL (stuck in a driver); its
	// device must not be offered.
	CauseUnkillable Cause = "unkillable"
	// CauseProtocolError: the client broke the protocol.
	CauseProtocolError Cause = "protocol-error"
)

// Causes returns every cause, in a fixed order.
func Causes() []Cause {
	return []Cause{
		CauseCompleted, CauseClientGone, CauseTimeout, CauseCrashSignal, CauseCrashExit,
		CauseOOM, CauseStartFailed, CauseKilledDrain, CauseUnkillable, CauseProtocolError,
	}
}

// ExitProtocol is the exit status by which a worker says that its client broke
// the protocol (EX_PROTOCOL of sysexits.h).
const ExitProtocol = 76

// Exit is the end of a worker's own process.
type Exit struct {
	Code       int            // exit status; -1 if a signal ended it
	Signal     syscall.Signal // 0 if none did
	Core       bool           // the signal left a core dump
	UserTime   time.Duration
	SysTime    time.Duration
	MaxRSS     int64 // bytes
	PeakMemory int64 // bytes, of its whole tree; 0: not known
	// OOM is true if the kernel's out-of-memory counter of the worker's group, or
	// of the closest one that can be asked, grew during its life.
	OOM bool
}

// Classify tells the cause of an end. An end that we brought about is named by
// our reason for it (killed), whatever status the dying process found time to
// leave. served is true if the worker had a session.
func Classify(killed Cause, served bool, e Exit) Cause {
	switch {
	case killed != "":
		return killed
	case e.Signal == syscall.SIGKILL && e.OOM:
		return CauseOOM
	case !served:
		return CauseStartFailed
	case e.Signal != 0:
		return CauseCrashSignal
	case e.Code == ExitProtocol:
		return CauseProtocolError
	case e.Code != 0:
		return CauseCrashExit
	default:
		return CauseCompleted
	}
}
