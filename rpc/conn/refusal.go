package conn

import (
	"errors"
	"fmt"
	"io"
	"os"

	"rpcpool.dev/rpc/frame"
)

// Refusal is why a client was not let in.
type Refusal uint8

// Refusals.
const (
	RefusedToken    Refusal = iota // wrong or no token
	RefusedTLS                     // its handshake of TLS has failed, as for want of a certificate
	RefusedMismatch                // it has no TLS where there is to be some, or the other way round
	RefusedOverload                // there are too many
	RefusedTimeout                 // its handshake was not over in time
	RefusedProtocol                // it speaks something else, or another version
	Refusals                       // how many there are
)

// String returns the refusal's word, as in metrics.
func (r Refusal) String() string {
	if r >= Refusals {
		return fmt.Sprintf("refusal-%d", uint8(r))
	}
	return [...]string{"token", "tls", "tls-mismatch", "overload", "timeout", "protocol"}[r]
}

// RefusedError is an error of a client that was not let in for a reason that the error
// does not tell.
type RefusedError struct {
	Why Refusal
	Err error
}

func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrapped.
func (e *RefusedError) Unwrap() error { return e.Err }

// RefusalOf tells why a client's handshake has failed; false: nobody has refused anything,
// as when the client has gone.
func RefusalOf(err error) (Refusal, bool) {
	var refused *RefusedError
	var bad *frame.Error
	switch {
	case errors.Is(err, io.EOF):
		return 0, false
	case errors.Is(err, errWantsTLS), errors.Is(err, errSpeaksTLS):
		return RefusedMismatch, true
	case errors.Is(err, os.ErrDeadlineExceeded):
		return RefusedTimeout, true
	case errors.As(err, &refused):
		return refused.Why, true
	case !errors.As(err, &bad):
		return 0, false
	case bad.Reason == frame.ReasonUnauthorised:
		return RefusedToken, true
	case bad.Reason == frame.ReasonOverload:
		return RefusedOverload, true
	}
	return RefusedProtocol, true
}
