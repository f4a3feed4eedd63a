//go:build !linux

package direct

import (
	"context"
	"fmt"
	"runtime"

	"rpcpool.dev/rpc/workers"
)

// Starter starts workers, on Linux.
type Starter struct{}

// New fails: what makes a starter's promises true exists on Linux only.
func New(Command) (*Starter, error) {
	return nil, fmt.Errorf("workers cannot be started directly on %s", runtime.GOOS)
}

// Start implements [workers.Starter].
func (*Starter) Start(context.Context) (workers.Process, error) { return nil, ErrClosed }

// Close ends the starter.
func (*Starter) Close() error { return nil }
