package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/internal/tail"
	"rpcpool.dev/sidecar/supervise"
)

// child is what the agent holds of a worker's process.
type child struct {
	pid     int
	dir     *workDir
	output  *tail.Pipe // of stdout and stderr
	status  *os.File   // the trampoline's last words; EOF: the worker's program runs
	control *os.File   // warm and long-lived: our end of the worker's socket
	exited  *os.File   // the process itself (pidfd): readable when it has ended; nil where the kernel has none
	notify  *notifier
	group   *group
	quota   *quota
	begun   time.Time
}

// execFailure waits until the worker's program runs, and returns "", or until
// the trampoline has said why it cannot.
func (c *child) execFailure() string {
	const most = 4 << 10
	b, err := io.ReadAll(io.LimitReader(c.status, most))
	_ = c.status.Close()
	if len(b) == 0 && err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Sprintf("ask the trampoline: %v", err)
	}
	return string(b)
}

// What a worker says on its control socket, a byte each.
const (
	saysReady    = 'R' // it waits for a session; the one before is over
	saysProtocol = 'P' // the client of the session that is about to be over broke the protocol
)

// watchControl passes on what a worker says on its control socket. It returns
// when the worker or the agent has closed that.
func (c *child) watchControl(said func(byte)) {
	var b [64]byte
	for {
		n, err := c.control.Read(b[:])
		for _, x := range b[:n] {
			said(x)
		}
		if err != nil {
			return
		}
	}
}

// assignment is what a worker gets with its session's descriptor, after 'S'.
type assignment struct {
	ID      string  `json:"id"`
	Key     string  `json:"key"`
	Client  string  `json:"client"`
	Timeout float64 `json:"timeout_s"`
	WorkDir string  `json:"workdir,omitempty"` // of a long-lived worker's session
}

// give hands a session's descriptor to a worker that waits for it, in one
// message. Of a worker that serves one session it is the last, so the control
// connection ends; a long-lived one (dir is its session's) gets more. The caller
// keeps its own descriptor.
func (c *child) give(s *supervise.Session, fd int, dir *workDir) error {
	if err := unix.SetNonblock(fd, false); err != nil {
		return fmt.Errorf("make the session blocking: %w", err)
	}
	about := assignment{ID: s.ID, Key: s.Key, Client: s.Client, Timeout: s.Timeout.Seconds()}
	if dir != nil {
		about.WorkDir = dir.path
	} else {
		defer c.control.Close() //nolint:errcheck // no more to say
	}
	body, err := json.Marshal(about)
	if err != nil {
		return fmt.Errorf("encode hand-over: %w", err)
	}
	return c.send(append([]byte{'S'}, body...), fd)
}

// send writes a message with a descriptor to the control socket, whole and
// without waiting, or not at all.
func (c *child) send(message []byte, fd int) error {
	raw, err := c.control.SyscallConn()
	if err != nil {
		return fmt.Errorf("hand over session: %w", err)
	}
	var n int
	var sendErr error
	err = raw.Control(func(control uintptr) {
		n, sendErr = unix.SendmsgN(int(control), message, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	})
	switch {
	case err != nil:
		return fmt.Errorf("hand over session: %w", err)
	case sendErr != nil:
		return fmt.Errorf("hand over session: %w", sendErr)
	case n != len(message):
		return fmt.Errorf("hand over session: %d of %d bytes sent", n, len(message))
	}
	return nil
}

// closeSockets ends the connections to the worker, and the watching of its
// directories.
func (c *child) closeSockets() {
	c.quota.stop()
	if c.control != nil {
		_ = c.control.Close()
	}
	if c.exited != nil {
		_ = c.exited.Close()
	}
	c.notify.close()
}

// close lets go of everything, whatever state the process is in.
func (c *child) close() {
	c.output.Stop(0)
	_ = c.status.Close()
	c.closeSockets()
	c.group.started()
}
