package crash

import "slices"

// Cause says how a worker ended.
type Cause string

// The causes: those of sidecar/supervise, which a test there holds against these.
const (
	// Completed means that it ended in order, and nothing ran.
	Completed Cause = "completed"
	// ClientGone means that the client went away and the worker did not end by itself.
	ClientGone Cause = "client-gone"
	// Timeout means that it was killed because a call outlived its deadline, or the one
	// who wanted it.
	Timeout Cause = "timeout"
	// Signal means that it died of a signal that nobody here sent.
	Signal Cause = "crash-signal"
	// Exit means that it ended by itself while calls ran, whatever its status, or with
	// a status that is not 0.
	Exit Cause = "crash-exit"
	// OOM means that memory ran out.
	OOM Cause = "oom"
	// StartFailed means that it never became ready.
	StartFailed Cause = "start-failed"
	// Drained means that it was killed because the server stops.
	Drained Cause = "killed-drain"
	// Unkillable means that it outlived SIGKILL.
	Unkillable Cause = "unkillable"
	// Protocol means that it broke the rules of the call channel, or closed it, and was
	// killed.
	Protocol Cause = "protocol-error"
)

// Causes returns all causes. A cause's place in the list is its number on the wire,
// from 1.
func Causes() []Cause {
	return []Cause{Completed, ClientGone, Timeout, Signal, Exit, OOM, StartFailed, Drained, Unkillable, Protocol}
}

func (c Cause) number() byte { return byte(slices.Index(Causes(), c) + 1) }

// causeOf is the cause with a number, empty if it is none that is known here.
func causeOf(n byte) Cause {
	if all := Causes(); n >= 1 && int(n) <= len(all) {
		return all[n-1]
	}
	return ""
}
