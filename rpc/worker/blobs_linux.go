package worker

import (
	"net"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob/local"
)

// attach joins the parent's host of blobs, by the socket that comes with the first byte of the
// channel. That stays to be read. nil: there is none, and all bytes come in messages.
func attach(nc net.Conn) *local.Callee {
	c, ok := nc.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil || c.SetReadDeadline(time.Now().Add(Options().Handshake)) != nil {
		return nil
	}
	oob := make([]byte, unix.CmsgSpace(4))
	n := 0
	err = raw.Read(func(fd uintptr) bool {
		var err error
		_, n, _, _, err = unix.Recvmsg(int(fd), make([]byte, 1), oob, unix.MSG_PEEK|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if err != nil || n <= 0 {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil
	}
	callee, err := local.Attach(uintptr(fds[0]))
	if err != nil {
		return nil
	}
	return &callee
}
