//go:build linux

package main

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// exception is one that the server, or its worker, sent.
type exception struct{ text string }

func (e exception) Error() string { return e.text }

// endOf says how a session ended by the error of its last call.
func endOf(err error) (e end, text string) {
	var said exception
	switch {
	case err == nil:
		return endOwn, ""
	case errors.As(err, &said):
		return endException, said.text
	case errors.Is(err, errGarbage):
		return endGarbage, err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return endEOF, ""
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return endReset, ""
	case errors.Is(err, os.ErrDeadlineExceeded):
		return endHung, ""
	default:
		return endReset, err.Error()
	}
}
