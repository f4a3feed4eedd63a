package shm

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// errHidden says that the kernel does not show us the process: it is in another
// container. Its death is seen by the end of its connection alone.
var errHidden = errors.New("process is not visible")

// process is the one at the other end of a connection, as a descriptor that becomes
// readable when it is dead. The end of the connection may come later: a child may have
// inherited it.
func process(c *net.UnixConn) (*os.File, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	control := raw.Control(func(s uintptr) {
		if fd, err = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err != nil {
			fd, err = processByID(int(s)) // a kernel before 6.5
		}
	})
	if err := errors.Join(err, control); err != nil {
		return nil, fmt.Errorf("process of a peer: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// processByID may find another process, if the peer is dead and its number was given
// again; that one lives, so it does no harm: the connection has ended by then.
func processByID(socket int) (int, error) {
	who, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return -1, err
	}
	if who.Pid == 0 {
		return -1, errHidden
	}
	return unix.PidfdOpen(int(who.Pid), 0)
}

// awaitDeath returns when the process is dead, or its file closed.
func awaitDeath(pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return err == nil && n > 0
	})
}
