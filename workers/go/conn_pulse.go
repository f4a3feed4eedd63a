//go:build unix

package worker

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// pulsing is a socket that waits for its peer by poll(2), with heartbeats.
type pulsing struct {
	*socket
	pulse   *pulse
	bounded bool // Read waits for a short time only
}

// Read implements io.Reader.
func (c *pulsing) Read(p []byte) (int, error) {
	if c.bounded {
		c.pulse.beat()
	} else {
		c.pulse.wait(c.fd, unix.POLLIN)
	}
	return c.socket.Read(p)
}

// SetReadDeadline is the socket's; no Read waits for long after it.
func (c *pulsing) SetReadDeadline(t time.Time) error {
	c.bounded = true
	return c.socket.SetReadDeadline(t)
}

// Write implements io.Writer.
func (c *pulsing) Write(p []byte) (int, error) {
	total := len(p)
	err := c.send(p)
	if err != nil {
		return 0, err
	}
	return total, nil
}

// WriteVector writes both buffers by one system call, unless the kernel takes
// only a part.
func (c *pulsing) WriteVector(head, data []byte) error { return c.send(head, data) }

func (c *pulsing) send(buffers ...[]byte) error {
	for {
		n, err := unix.SendmsgBuffers(c.fd, buffers, nil, nil, unix.MSG_DONTWAIT)
		buffers = remaining(max(n, 0), buffers...)
		switch {
		case len(buffers) == 0:
			return nil
		case err == unix.EAGAIN:
			c.pulse.wait(c.fd, unix.POLLOUT)
		case err != nil && err != unix.EINTR:
			return fmt.Errorf("sendmsg: %w", err)
		}
	}
}
