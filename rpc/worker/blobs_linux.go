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
	fd, ok := onlyFile(oob[:n])
	if !ok {
		return nil
	}
	callee, err := local.Attach(uintptr(fd))
	if err != nil {
		return nil
	}
	return &callee
}

// onlyFile takes the one descriptor out of control messages. There is room for two, as the kernel
// aligns it: if it has made more than one, they are closed.
func onlyFile(oob []byte) (fd int, only bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, false
	}
	var fds []int
	for i := range messages {
		if more, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, more...)
		}
	}
	if len(fds) == 1 {
		return fds[0], true
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	return -1, false
}
