//go:build !linux

package agent

import (
	"context"
	"errors"
	"os"
)

// WithParent fails: an agent needs Linux.
func WithParent(context.Context, *os.File) (context.Context, context.CancelFunc, error) {
	return nil, nil, errors.New("the parent's death can be noticed on Linux only")
}

// Guarded does nothing on this system; see its Linux version.
func Guarded(LogOptions) error { return nil }
