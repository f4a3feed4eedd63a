//go:build !linux

package conn

import (
	"errors"
	"syscall"
)

// attempt writes to a socket without waiting: here it cannot, so everything is
// left to a goroutine that may wait.
type attempt struct{ raw syscall.RawConn }

func (*attempt) init(syscall.RawConn) {}

func (*attempt) write([][]byte, bool) (int, error) { return 0, errors.ErrUnsupported }

func (*attempt) read([][]byte) (int, error) { return 0, errors.ErrUnsupported }

func (*attempt) look([]byte) (int, error) { return 0, errors.ErrUnsupported }

func yield() {}
