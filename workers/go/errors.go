package worker

import (
	"errors"
	"fmt"
	"io"
	"syscall"
)

// Exit statuses of [Main].
const (
	ExitOK       = 0
	ExitFailure  = 1  // neither the client nor the session is at fault, or nobody can tell
	ExitUsage    = 2  // not started by an agent
	ExitProtocol = 76 // EX_PROTOCOL of sysexits.h: the client broke the protocol
)

// ErrProtocol is in the chain of every error that says that the client broke
// the protocol.
var ErrProtocol = errors.New("protocol error")

// ErrClientGone is in the chain of the error that says that the client went
// away while it was owed a reply.
var ErrClientGone = errors.New("client is gone")

func protocolErrorf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrProtocol, fmt.Errorf(format, args...))
}

// readError tells what a failed read inside a packet means: the client may not
// leave a packet unfinished.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) {
		return protocolErrorf("connection closed inside a packet: %w", err)
	}
	return fmt.Errorf("read packet: %w", err)
}

func writeError(err error) error {
	if isReset(err) || errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("%w: %w", ErrClientGone, err)
	}
	return fmt.Errorf("write reply: %w", err)
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ETIMEDOUT)
}

// exitStatus maps the end of a session to the status that the worker contract
// wants for it.
func exitStatus(err error) int {
	switch {
	case errors.Is(err, ErrProtocol):
		return ExitProtocol
	case err == nil, errors.Is(err, ErrClientGone):
		return ExitOK
	default:
		return ExitFailure
	}
}
