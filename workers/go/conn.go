//go:build unix

package worker

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is the session's descriptor with plain blocking calls. The thread that
// waits in read(2) is the one that serves, so a request costs one wake-up and
// no detour by the runtime's poller; and the open file description, which the
// supervisor shares, stays in the blocking mode that it was handed over in.
type socket struct{ fd int }

// newSocket takes over fd.
func newSocket(fd int) (*socket, error) {
	syscall.CloseOnExec(fd)
	if err := syscall.SetNonblock(fd, false); err != nil {
		return nil, fmt.Errorf("session descriptor %d: %w", fd, err)
	}
	return &socket{fd: fd}, nil
}

// Read implements io.Reader.
func (s *socket) Read(p []byte) (int, error) {
	for {
		n, err := syscall.Read(s.fd, p)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, fmt.Errorf("read: %w", err)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write implements io.Writer.
func (s *socket) Write(p []byte) (int, error) {
	for done := 0; ; {
		n, err := syscall.Write(s.fd, p[done:])
		done += max(n, 0)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return done, fmt.Errorf("write: %w", err)
		case done == len(p):
			return done, nil
		}
	}
}

// WriteVector writes both buffers by one system call, unless the kernel takes
// only a part.
func (s *socket) WriteVector(head, data []byte) error {
	n, err := unix.Writev(s.fd, [][]byte{head, data})
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("writev: %w", err)
	}
	for _, rest := range remaining(max(n, 0), head, data) {
		if _, err := s.Write(rest); err != nil {
			return err
		}
	}
	return nil
}

// remaining returns what is left of the buffers after n bytes of them.
func remaining(n int, buffers ...[]byte) [][]byte {
	for len(buffers) > 0 && n >= len(buffers[0]) {
		n -= len(buffers[0])
		buffers = buffers[1:]
	}
	if len(buffers) > 0 {
		buffers[0] = buffers[0][n:]
	}
	return buffers
}

// CloseWrite ends this side's half of the connection.
func (s *socket) CloseWrite() error {
	if err := syscall.Shutdown(s.fd, syscall.SHUT_WR); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	return nil
}

// SetReadDeadline bounds each later Read by the time that is left until t.
func (s *socket) SetReadDeadline(t time.Time) error {
	left := syscall.NsecToTimeval(max(time.Until(t), time.Millisecond).Nanoseconds())
	if err := syscall.SetsockoptTimeval(s.fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &left); err != nil {
		return fmt.Errorf("set SO_RCVTIMEO: %w", err)
	}
	return nil
}

// QuickAck has what was received acknowledged at once. Sockets without such an
// option need none.
func (s *socket) QuickAck() { quickAck(s.fd) }

// Close implements io.Closer.
func (s *socket) Close() error {
	if err := syscall.Close(s.fd); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
