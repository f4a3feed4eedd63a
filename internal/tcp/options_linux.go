package tcp

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func setUserTimeout(raw syscall.RawConn, d time.Duration) error {
	return setInt(raw, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
}

// quickAck ignores errors: a connection that is going away refuses options,
// and its next read says so better.
func quickAck(raw syscall.RawConn) {
	_ = setInt(raw, unix.TCP_QUICKACK, 1)
}

func setInt(raw syscall.RawConn, option, value int) error {
	var optErr error
	err := raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value)
	})
	if err != nil {
		return err
	}
	return optErr
}
