package session

import "strconv"

// name is the name of a number, which may have come from the other side.
func name(names []string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return "number " + strconv.Itoa(int(n))
}

// Execution says whether a call ran. Every outcome has one. The zero value
// claims the least.
type Execution uint8

const (
	// Indeterminate means that it ran once or not at all (if idempotent: any number of times).
	Indeterminate Execution = iota
	// NotExecuted means that it did not run and never will.
	NotExecuted
	// Executed means that it ran, exactly once unless it is idempotent.
	Executed
)

// String is the name, as in metrics and logs.
func (e Execution) String() string {
	return name([]string{"Indeterminate", "NotExecuted", "Executed"}, uint8(e))
}

// Code says how a call ended.
type Code uint8

const (
	// OK means that the handler returned a result.
	OK Code = iota
	// Failed means that the handler returned an error, or panicked.
	Failed
	// DeadlineExceeded means that the time that the caller gave is over.
	DeadlineExceeded
	// Canceled means that the caller does not want it any more.
	Canceled
	// Crashed means that the worker died while it ran.
	Crashed
	// Poisoned means that this method with these arguments has killed too many workers.
	Poisoned
	// Refused means that the server does not take it now; another may.
	Refused
	// NoServer means that there is no server for it.
	NoServer
	// Lost means that the server restarted while it ran, or its dedup domain is gone.
	Lost
	// Expired means that the session ended before an answer came.
	Expired
	// ReplyLost means that it ran, but the reply was dropped to stay within the budget.
	ReplyLost
	// Unimplemented means that the server has no such method.
	Unimplemented
	// Invalid means that the arguments are none of the method's: it did not run.
	Invalid
	// Unmet means that a call whose result was to be in the arguments has none: it did
	// not run.
	Unmet
	// Denied means that the client may not call the method: it did not run.
	Denied
	// Codes is their number.
	Codes
)

// String is the name, as in metrics and logs.
func (c Code) String() string {
	return name([]string{
		"OK", "Failed", "DeadlineExceeded", "Canceled", "Crashed", "Poisoned",
		"Refused", "NoServer", "Lost", "Expired", "ReplyLost", "Unimplemented", "Invalid",
		"Unmet", "Denied",
	}, uint8(c))
}

// Memory is what a long reply is in, where its shell wants that back. It is used until
// everybody has released it.
type Memory interface {
	Retain()
	Release()
}

// Lender is a [Memory] that wants to know what of it is on its way.
type Lender interface {
	Memory
	// Lend is Retain, for a message: that has what it returns.
	Lend() Memory
}

// Outcome is how a call ended, and whether it ran.
type Outcome struct {
	Code      Code
	Execution Execution
	Fenced    bool   // its server is known to be dead: no run of it is going on
	Blobs     uint8  // how many blobs Reply names in front of the result; they do not survive the server's process
	Reply     []byte // result, or the handler's error
}
