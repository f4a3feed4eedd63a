package session

// Execution says whether a call ran. Every outcome has one. The zero value
// claims the least.
type Execution uint8

const (
	// Indeterminate: it ran once or not at all (if idempotent: any number of times).
	Indeterminate Execution = iota
	// NotExecuted: it did not run and never will.
	NotExecuted
	// Executed: it ran, exactly once unless it is idempotent.
	Executed
)

// String is the name, as in metrics and logs.
func (e Execution) String() string {
	return [...]string{"Indeterminate", "NotExecuted", "Executed"}[e]
}

// Code says how a call ended.
type Code uint8

const (
	// OK: the handler returned a result.
	OK Code = iota
	// Failed: the handler returned an error, or panicked.
	Failed
	// DeadlineExceeded: the time that the caller gave is over.
	DeadlineExceeded
	// Canceled: the caller does not want it any more.
	Canceled
	// Crashed: the worker died while it ran.
	Crashed
	// Poisoned: this method with these arguments has killed too many workers.
	Poisoned
	// Refused: the server does not take it now; another may.
	Refused
	// NoServer: there is no server for it.
	NoServer
	// Lost: the server restarted while it ran, or its dedup domain is gone.
	Lost
	// Expired: the session ended before an answer came.
	Expired
	// ReplyLost: it ran, but the reply was dropped to stay within the budget.
	ReplyLost
)

// String is the name, as in metrics and logs.
func (c Code) String() string {
	return [...]string{
		"OK", "Failed", "DeadlineExceeded", "Canceled", "Crashed", "Poisoned",
		"Refused", "NoServer", "Lost", "Expired", "ReplyLost",
	}[c]
}

// Outcome is how a call ended, and whether it ran.
type Outcome struct {
	Code      Code
	Execution Execution
	Fenced    bool   // its server is known to be dead: no run of it is going on
	Reply     []byte // result, or the handler's error
}
