package accumulator

import (
	"errors"
	"fmt"
)

// Errors of a [Server].
var (
	// ErrNotFound: there is no accumulator of that name and with those labels.
	ErrNotFound = errors.New("no such accumulator")
	// ErrRejected: the server has decided on a batch, and not taken all of it. It
	// is not to be sent again. What it did take is merged.
	ErrRejected = errors.New("not all of a batch was merged")
	// ErrType: an accumulator of that name has another type. It is part of what
	// ErrRejected says.
	ErrType = errors.New("accumulator has another type")
	// ErrLimit: there would be too many accumulators, or something is too long. It
	// is part of what ErrRejected says.
	ErrLimit = errors.New("over a limit")
	// ErrMalformed: what came is no batch, or no snapshot. Nothing was merged.
	ErrMalformed = errors.New("malformed")
	// ErrExpired: a batch is so old that the server cannot tell any more whether
	// it has merged it, so it did not merge it now. It is part of what ErrRejected says.
	ErrExpired = errors.New("too old: it may have been merged before, and was not merged now")
	// ErrFull: there are too many clients. Nothing was merged; later there may be room.
	ErrFull error = notMerged("too many clients")
)

// ErrClosed means that the [Client] is closed.
var ErrClosed = errors.New("accumulator client is closed")

// notMerged is an error of which a client may know that nothing has happened.
type notMerged string

func (e notMerged) Error() string { return string(e) }

// NotExecuted is true: see [Pusher].
func (e notMerged) NotExecuted() bool { return true }

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

func limitf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrLimit}, args...)...)
}

// maxReasons is how many of the reasons why parts of a batch were not taken are told.
const maxReasons = 4

// rejections gathers why parts of a batch were not taken.
type rejections struct {
	reasons []error
	more    int
}

func (r *rejections) add(err error) {
	if len(r.reasons) == maxReasons {
		r.more++
		return
	}
	r.reasons = append(r.reasons, err)
}

func (r *rejections) err() error {
	switch {
	case len(r.reasons) == 0:
		return nil
	case r.more > 0:
		return fmt.Errorf("%w: %w, and %d more", ErrRejected, errors.Join(r.reasons...), r.more)
	}
	return fmt.Errorf("%w: %w", ErrRejected, errors.Join(r.reasons...))
}
