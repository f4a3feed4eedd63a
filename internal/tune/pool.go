package tune

import (
	"context"

	"rpcpool.dev/workers/go/matmul"
)

// Pool gives out servers.
type Pool interface {
	// Open waits for a server and opens a session on it. An error that is not
	// ctx's says that there is no session to be had now.
	Open(ctx context.Context) (Session, error)
}

// Session is one session on one server.
type Session interface {
	// Server is the server's address, host:port.
	Server() string
	// Measure runs cfg on operands that the device makes itself. An error is a
	// [*Failure] if it says something about the trial.
	Measure(ctx context.Context, cfg matmul.Config) (matmul.Result, error)
	// MeasureArrays runs cfg on operands that are sent to the device and fetches
	// the product.
	MeasureArrays(ctx context.Context, cfg matmul.Config, a, b []float32) (matmul.Result, []float32, error)
	// Close ends the session.
	Close() error
}

// Failure is the error of a trial that ended badly.
type Failure struct {
	Outcome Outcome
	Err     error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }
