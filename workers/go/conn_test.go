package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
)

func TestRemainderOfAVectoredWrite(t *testing.T) {
	head, data := []byte("head"), []byte("data")
	for n, want := range []string{"headdata", "eaddata", "addata", "ddata", "data", "ata", "ta", "a", ""} {
		if got := bytes.Join(remaining(n, head, data), nil); string(got) != want {
			t.Errorf("after %d bytes %q is left, want %q", n, got, want)
		}
	}
}

func TestExitStatusTellsWhoIsAtFault(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"in order", nil, ExitOK},
		{"packet cut by EOF", readError(io.ErrUnexpectedEOF), ExitProtocol},
		{"packet cut by a reset", readError(fmt.Errorf("read: %w", syscall.ECONNRESET)), ExitProtocol},
		{"bytes that are no packet", protocolErrorf("code 99"), ExitProtocol},
		{"the same, and gone before it was told", errors.Join(protocolErrorf("code 99"), writeError(syscall.EPIPE)), ExitProtocol},
		{"gone before its reply", writeError(fmt.Errorf("write: %w", syscall.EPIPE)), ExitOK},
		{"host gone before its reply", writeError(syscall.ETIMEDOUT), ExitOK},
		{"descriptor closed by a function", writeError(syscall.EBADF), ExitFailure},
		{"descriptor not readable", readError(syscall.EBADF), ExitFailure},
	} {
		if got := exitStatus(c.err); got != c.want {
			t.Errorf("%s: exit status %d, want %d", c.name, got, c.want)
		}
	}
}
