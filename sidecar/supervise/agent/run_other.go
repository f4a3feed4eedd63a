//go:build !linux

package agent

import (
	"context"
	"errors"
	"runtime"
)

// MaybeExec does nothing on this system; see its Linux version.
func MaybeExec() {}

// Run fails: an agent needs Linux.
func Run(_ context.Context, o Options) error {
	if _, err := o.withDefaults(); err != nil {
		return err
	}
	return errors.New("the agent needs Linux, this is " + runtime.GOOS)
}
