package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// child is what the agent holds of a worker's process.
type child struct {
	pid     int
	dir     *workDir
	output  *output
	status  *os.File // the trampoline's last words; EOF: the worker's program runs
	control *os.File // warm and long-lived: our end of the worker's socket
	exited  *os.File // the process itself (pidfd): readable when it has ended; nil where the kernel has none
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
	c.output.stop(0)
	_ = c.status.Close()
	c.closeSockets()
	c.group.started()
}

// output collects the last of what a worker writes to stdout and stderr.
type output struct {
	pipe *os.File
	mu   sync.Mutex
	ring *ring
	buf  [8 << 10]byte
	done chan struct{}
}

func newOutput(pipe *os.File) *output {
	return &output{pipe: pipe, ring: newRing(supervise.StderrTail), done: make(chan struct{})}
}

// collect reads until every writer has gone, or [output.stop].
func (o *output) collect() {
	defer close(o.done)
	raw, err := o.pipe.SyscallConn()
	if err != nil {
		return
	}
	for more := true; more; {
		if raw.Read(func(fd uintptr) (done bool) {
			more, done = o.read(fd)
			return done
		}) != nil {
			return
		}
	}
}

// read moves what the pipe holds, at most a buffer full, to the ring: both under
// the lock, so that who has it finds all that was written so far in one of the
// two. more is false at the end; done is false if there was nothing to read.
func (o *output) read(fd uintptr) (more, done bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := unix.Read(int(fd), o.buf[:])
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(int(fd), o.buf[:])
	}
	if errors.Is(err, unix.EAGAIN) {
		return true, false
	}
	o.ring.write(o.buf[:max(n, 0)])
	return n > 0, true
}

// drain moves what the pipe holds now to the ring. Who writes without end does
// not keep it.
func (o *output) drain() {
	raw, err := o.pipe.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for range supervise.StderrTail / len(o.buf) {
			if more, done := o.read(fd); !more || !done {
				return
			}
		}
	})
}

// forget drops what was written so far.
func (o *output) forget() {
	o.drain()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ring = newRing(supervise.StderrTail)
}

// tail returns the last of what was written so far.
func (o *output) tail() []byte {
	o.drain()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ring.bytes()
}

// stop ends the collection, after at most wait: when the worker's tree is gone
// so are the pipe's writers, unless a descriptor was given to a stranger.
func (o *output) stop(wait time.Duration) {
	_ = o.pipe.SetReadDeadline(time.Now().Add(wait))
	<-o.done
	_ = o.pipe.Close()
}
