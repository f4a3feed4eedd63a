package sidecar

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// peerSocket is the sidecar's duplicate of a session's socket. The worker's
// end is blocking, and that flag is shared by all duplicates, so every
// operation here says by itself that it must not block.
type peerSocket struct {
	fd   int
	once sync.Once
}

// newPeerSocket duplicates c's descriptor, makes the socket blocking, as TVM's
// session loop needs it, and closes c: from here on nobody but the worker reads
// from it.
func newPeerSocket(c *net.TCPConn) (*peerSocket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("raw connection: %w", err), c.Close())
	}
	var dup int
	var dupErr error
	err = raw.Control(func(fd uintptr) {
		dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, dupErr, c.Close()); err != nil {
		return nil, fmt.Errorf("duplicate the session's socket: %w", err)
	}
	return takeSocket(dup)
}

// takeSocket owns fd from now on.
func takeSocket(fd int) (*peerSocket, error) {
	s := &peerSocket{fd: fd}
	if err := unix.SetNonblock(fd, false); err != nil {
		s.Close()
		return nil, fmt.Errorf("make the session's socket blocking: %w", err)
	}
	return s, nil
}

// Close closes the duplicate; the worker's own is not touched.
func (s *peerSocket) Close() {
	s.once.Do(func() { _ = unix.Close(s.fd) })
}

// gone tells whether the client has closed its side, without waiting.
func (s *peerSocket) gone() bool {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// leftFirst tells of a client that is gone whether it went by itself, and not
// because our side, the worker's, had been ended before: TCP knows who was first.
// After our end and then the client's it is done with the connection without an
// error; after a reset there is one, which is looked at and left to the worker.
func (s *peerSocket) leftFirst() bool {
	const (
		finWait1 = 4
		finWait2 = 5
		timeWait = 6
		closed   = 7
		closing  = 11
	)
	info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return true // not TCP: nobody ends one side alone
	}
	switch info.State {
	case finWait1, finWait2, timeWait, closing:
		return false
	case closed:
		fds := []unix.PollFd{{Fd: int32(s.fd)}}
		_, err := unix.Poll(fds, 0)
		return err != nil || fds[0].Revents&unix.POLLERR != 0
	default:
		return true
	}
}

// hungUp tells whether the peer of c has closed its side, without waiting.
func hungUp(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	hung := false
	err = raw.Control(func(fd uintptr) { hung = (&peerSocket{fd: int(fd)}).gone() })
	return hung || err != nil
}

// watch calls gone once when the client closes its side or the connection
// dies. The returned function ends the watch and waits until it has ended; it
// must be called before Close.
func (s *peerSocket) watch(gone func()) (stop func(), err error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fds := []unix.PollFd{
			{Fd: int32(s.fd), Events: unix.POLLRDHUP},
			{Fd: int32(wake), Events: unix.POLLIN},
		}
		for {
			_, err := unix.Poll(fds, -1)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err == nil && fds[1].Revents == 0 {
				gone()
			}
			return
		}
	}()
	return sync.OnceFunc(func() {
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-done
		_ = unix.Close(wake)
	}), nil
}

// midReply tells whether a worker that has just died was probably in the middle
// of a reply. A write is cut short only where it found the send buffer full, so
// what the kernel still holds then is much; a whole small reply that only waits
// for its acknowledgement is little. A client that reads faster than we look is
// told nothing wrong for that: the reply that it waits for stays short of its
// length all the same, and the end of the connection is its error.
func (s *peerSocket) midReply() bool {
	held, err := unix.IoctlGetInt(s.fd, unix.SIOCOUTQ)
	if err != nil {
		return false
	}
	size, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return err == nil && held > size/4
}

// traffic is what TCP says about a session.
type traffic struct {
	received, sent uint64        // payload bytes from and to the client
	rtt            time.Duration // smoothed round trip
	retransmits    uint32        // segments sent again
}

// traffic asks the kernel; all zero where it does not know (not TCP).
func (s *peerSocket) traffic() traffic {
	info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return traffic{}
	}
	return traffic{
		received:    info.Bytes_received,
		sent:        info.Bytes_acked,
		rtt:         time.Duration(info.Rtt) * time.Microsecond,
		retransmits: info.Total_retrans,
	}
}

// farewell writes packet (which may be empty), ends our direction, and reads
// what the client still sends, for at most d: closing a socket with unread
// bytes resets the connection, and a reset destroys the packet in the client's
// receive buffer. Call it only when no worker has the socket any more.
func (s *peerSocket) farewell(packet []byte, d time.Duration) {
	deadline := time.Now().Add(d)
	for len(packet) > 0 {
		n, err := unix.SendmsgN(s.fd, packet, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EAGAIN) && s.wait(unix.POLLOUT, deadline) {
			continue
		}
		if err != nil {
			return
		}
		packet = packet[n:]
	}
	_ = unix.Shutdown(s.fd, unix.SHUT_WR)
	_ = s.drain(deadline)
}

// drain reads and forgets until the client closes or the deadline.
func (s *peerSocket) drain(deadline time.Time) error {
	buf := make([]byte, 16<<10)
	for s.wait(unix.POLLIN|unix.POLLRDHUP, deadline) {
		n, _, err := unix.Recvfrom(s.fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return io.EOF
		}
	}
	return nil
}

// wait waits for events until the deadline and tells whether any came.
func (s *peerSocket) wait(events int16, deadline time.Time) bool {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: events}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}
