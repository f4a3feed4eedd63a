package port

import (
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/frame"
)

const canPeek = true

// peek looks at what has come by a socket, and leaves it there. It waits for more until
// it knows: somebody who ends after half a magic is not noticed, but not waited for
// longer than for others.
func peek(c syscall.Conn) (protocol frame.Protocol, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	var first [frame.SniffLen]byte
	var why error
	err = raw.Read(func(fd uintptr) (known bool) {
		n, _, err := unix.Recvfrom(int(fd), first[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			return false
		case err != nil:
			why = fmt.Errorf("peeking: %w", err)
			return true
		case n == 0:
			why = io.EOF
			return true
		}
		var more bool
		if protocol, more = frame.Sniff(first[:n]); protocol == frame.ProtocolUnknown && !more {
			why = errUnknown
		}
		return protocol != frame.ProtocolUnknown || !more
	})
	if err == nil {
		err = why
	}
	if err != nil {
		return 0, err //nolint:wrapcheck // it says all
	}
	return protocol, nil
}
