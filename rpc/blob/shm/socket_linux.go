package shm

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// socket sends and receives messages over a SOCK_SEQPACKET connection.
type socket struct {
	*net.UnixConn
	in, out, oob []byte
}

func newSocket(c *net.UnixConn) *socket {
	return &socket{UnixConn: c, in: make([]byte, messageLen+mostText+1), oob: make([]byte, unix.CmsgSpace(2*4))}
}

// send sends a message, and a duplicate of the file if there is one. It fails if the
// peer does not read for so long.
func (s *socket) send(m *message, f *os.File, patience time.Duration) error {
	s.out = m.append(s.out[:0])
	var rights []byte
	if f != nil {
		rights = unix.UnixRights(int(f.Fd()))
	}
	if err := s.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, _, err := s.WriteMsgUnix(s.out, rights, nil)
	return err
}

// receive receives a message, and a descriptor, or -1: none was sent, or this process could not take
// it. Without files, the kernel closes what a peer sends.
func (s *socket) receive(files bool) (message, int, error) {
	var oob []byte
	if files {
		oob = s.oob
	}
	n, oobn, flags, _, err := s.ReadMsgUnix(s.in, oob)
	if err != nil {
		return message{}, -1, err
	}
	fd, err := oneFile(oob[:oobn])
	if err != nil {
		return message{}, -1, err
	}
	m, err := parseMessage(s.in[:n])
	if err != nil {
		closeFile(fd)
		return message{}, -1, err
	}
	if files && flags&unix.MSG_CTRUNC != 0 {
		closeFile(fd) // one of several, of a host that sends more than it should
		fd = -1
	}
	return m, fd, nil
}

// oneFile takes the descriptor out of a control message; -1 if there is none.
func oneFile(oob []byte) (int, error) {
	fd := -1
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, fmt.Errorf("control message: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // of another kind
		}
		for _, f := range fds {
			closeFile(fd)
			fd = f
		}
	}
	return fd, nil
}

func closeFile(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}
