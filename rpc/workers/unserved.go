package workers

import (
	"errors"

	"rpcpool.dev/rpc/crash"
)

// ErrNoWorker is what a program did that is started as a worker and does something else.
var ErrNoWorker = errors.New("it has not said that it is ready for calls")

// UnservedError is how a worker has ended that had served nothing.
type UnservedError struct {
	Report crash.Report
	Err    error // why it did not become ready, [ErrNoWorker] if it ended by itself; nil: it was ready
}

func (e *UnservedError) Error() string {
	if e.Err == nil {
		return e.Report.String()
	}
	return e.Report.String() + ": " + e.Err.Error()
}

// Unwrap returns what is wrapped.
func (e *UnservedError) Unwrap() error { return e.Err }
