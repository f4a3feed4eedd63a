package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/session"
)

// Code says how a call ended. It is an error, for errors.Is:
//
//	if errors.Is(err, rpc.Crashed) { … }
type Code uint8

// Codes of calls that did not return a result.
const (
	// Failed: the handler returned an error, or panicked.
	Failed = Code(session.Failed)
	// DeadlineExceeded: the time that the caller gave is over.
	// It is also context.DeadlineExceeded.
	DeadlineExceeded = Code(session.DeadlineExceeded)
	// Canceled: the caller does not want the call any more. It is also context.Canceled.
	Canceled = Code(session.Canceled)
	// Crashed: the worker died while it ran.
	Crashed = Code(session.Crashed)
	// Poisoned: this method with these arguments has killed too many workers.
	Poisoned = Code(session.Poisoned)
	// Refused: the servers do not take it now: they are busy, or drain.
	Refused = Code(session.Refused)
	// NoServer: there is no server for it.
	NoServer = Code(session.NoServer)
	// Lost: the server restarted while it ran, or its table is gone; with [NoRetry], its connection
	// broke.
	Lost = Code(session.Lost)
	// Expired: the session ended before an answer came.
	Expired = Code(session.Expired)
	// ReplyLost: it ran, but its result was dropped to stay within the server's budget.
	ReplyLost = Code(session.ReplyLost)
	// Unimplemented: the server has no such method.
	Unimplemented = Code(session.Unimplemented)
	// Invalid: the arguments cannot be encoded, or are none of the method's.
	Invalid = Code(session.Invalid)
	// Unmet: the call whose result was promised to it has none. errors.Is finds why.
	Unmet = Code(session.Unmet)
	// Denied: the client may not call the method.
	Denied = Code(session.Denied)
)

// String is the code's word, as in metrics and logs.
func (c Code) String() string { return session.Code(c).String() }

// Error implements error.
func (c Code) Error() string { return c.String() }

// Execution says whether a call ran. It is an error, for errors.Is.
type Execution uint8

// Executions. There is no fourth case.
const (
	// Indeterminate: it ran once or not at all (idempotent: any number of times). It
	// will not start any more.
	Indeterminate = Execution(session.Indeterminate)
	// NotExecuted: it did not run, and never will.
	NotExecuted = Execution(session.NotExecuted)
	// Executed: it ran, exactly once unless it is idempotent.
	Executed = Execution(session.Executed)
)

// String is the execution's word, as in metrics and logs.
func (x Execution) String() string { return session.Execution(x).String() }

// Error implements error.
func (x Execution) Error() string { return x.String() }

// Reason is an application's own word for why a call failed, for errors.Is. A handler
// gives it to its error with [Fail].
type Reason string

// Error implements error.
func (r Reason) Error() string { return string(r) }

// XID is a call's identity: the same at client and server, on every resend.
type XID = session.XID

// Error is why a call returned no result.
type Error struct {
	Method    string
	Code      Code
	Execution Execution
	Reason    Reason        // of the application; may be empty
	Message   string        // for people
	Detail    []byte        // what the handler gave to [Fail], or a crash report
	XID       XID           // zero if the call reached no server
	Attempts  int           // how many servers were tried
	Retry     time.Duration // when another attempt may do better; 0: not said, negative: never
	Fenced    bool          // its server is known to be dead: no run of it is going on

	cause error
}

// Error says what happened: method, code, whether it ran, and why.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rpc %s: %v (%v)", e.Method, e.Code, e.Execution)
	if e.Reason != "" {
		fmt.Fprintf(&b, ": %s", string(e.Reason))
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", e.Message)
	}
	return b.String()
}

// Is makes errors.Is work with [Code], [Execution], [Reason], and the errors of package
// context.
func (e *Error) Is(target error) bool {
	switch t := target.(type) {
	case Code:
		return e.Code == t
	case Execution:
		return e.Execution == t
	case Reason:
		return e.Reason != "" && e.Reason == t
	}
	return e.Code == DeadlineExceeded && target == context.DeadlineExceeded ||
		e.Code == Canceled && target == context.Canceled
}

// Unwrap returns what an error of this side was made of, such as why arguments could not be
// encoded.
func (e *Error) Unwrap() error { return e.cause }

// Crash returns the report on the worker's death, if that is what the call ended with.
func (e *Error) Crash() (report crash.Report, ok bool) {
	if e.Code != Crashed {
		return report, false
	}
	report, err := crash.Parse(e.Detail)
	return report, err == nil
}

// failure is an error of a handler.
type failure struct {
	reason Reason
	detail []byte
	err    error
}

// Fail makes a handler's error that its caller can tell apart: errors.Is(err, reason)
// holds on both sides. detail, at most some KiB, arrives as [Error].Detail; it may be nil.
func Fail(reason Reason, detail []byte, format string, args ...any) error {
	return &failure{reason, detail, fmt.Errorf(format, args...)} //nolint:err113 // the caller's words
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// Is makes errors.Is work with [Reason].
func (f *failure) Is(target error) bool {
	r, ok := target.(Reason)
	return ok && r == f.reason
}

// ErrIdle is why a stream has ended in which no item has moved for as long as [StreamIdle] or
// [MethodOptions].StreamIdle allow. At a client it is the reason of the handler's error, or what its own wraps.
const ErrIdle = Reason("stream is idle")

// ErrClosed is why a client or server that was closed does nothing any more.
var ErrClosed = errors.New("rpc: closed")
