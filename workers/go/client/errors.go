package client

import (
	"errors"
	"fmt"
	"strings"

	"rpcpool.dev/tvm"
)

// Errors to compare with errors.Is.
var (
	// ErrMismatch: the server waits for another match key; the ticket is used
	// up or was never its own.
	ErrMismatch = tvm.ErrMismatch
	// ErrSessionTimeout: the server ended the session because its time was over.
	ErrSessionTimeout = errors.New("session timeout")
	// ErrSessionLost: the connection ended. If a call was outstanding nobody
	// knows whether it was executed.
	ErrSessionLost = errors.New("session lost")
	// ErrNoFunction: the server has no function of that name.
	ErrNoFunction = errors.New("no such function")
	// ErrProtocol: the server's answer is not the protocol.
	ErrProtocol = errors.New("protocol error")
)

// RemoteError is an exception of the server: a function failed, or a supervisor
// tells how the session ended.
type RemoteError struct {
	Text string // as it came
}

// Error implements error.
func (e *RemoteError) Error() string { return "remote: " + e.Text }

// Is makes the exception by which a supervisor reports a timeout an
// [ErrSessionTimeout].
func (e *RemoteError) Is(target error) bool {
	return target == ErrSessionTimeout && strings.HasPrefix(e.Text, tvm.SessionTimeoutPrefix)
}

func lost(err error) error {
	if errors.Is(err, ErrSessionLost) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrSessionLost, err)
}

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrProtocol, fmt.Errorf(format, args...))
}
