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
	control *os.File // warm: our end of the worker's socket
	group   *group
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

// watchControl calls ready at the first 'R' of a warm worker. It returns when
// the worker or the agent has closed the socket.
func (c *child) watchControl(ready func()) {
	var b [64]byte
	said := false
	for {
		n, err := c.control.Read(b[:])
		for _, x := range b[:n] {
			if x == 'R' && !said {
				said = true
				ready()
			}
		}
		if err != nil {
			return
		}
	}
}

// assignment is what a warm worker gets with its session's descriptor, after 'S'.
type assignment struct {
	ID      string  `json:"id"`
	Key     string  `json:"key"`
	Client  string  `json:"client"`
	Timeout float64 `json:"timeout_s"`
}

// give hands a session's descriptor to a warm worker, in one message, and ends
// the control connection. The caller keeps its own descriptor.
func (c *child) give(s *supervise.Session, fd int) error {
	defer c.control.Close() //nolint:errcheck // no more to say
	if err := unix.SetNonblock(fd, false); err != nil {
		return fmt.Errorf("make the session blocking: %w", err)
	}
	body, err := json.Marshal(assignment{ID: s.ID, Key: s.Key, Client: s.Client, Timeout: s.Timeout.Seconds()})
	if err != nil {
		return fmt.Errorf("encode hand-over: %w", err)
	}
	raw, err := c.control.SyscallConn()
	if err != nil {
		return fmt.Errorf("hand over session: %w", err)
	}
	message := append([]byte{'S'}, body...)
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

// close lets go of everything, whatever state the process is in.
func (c *child) close() {
	c.output.stop(0)
	_ = c.status.Close()
	if c.control != nil {
		_ = c.control.Close()
	}
	c.group.started()
}

// output collects the last of what a worker writes to stdout and stderr.
type output struct {
	pipe *os.File
	mu   sync.Mutex
	ring *ring
	done chan struct{}
}

func newOutput(pipe *os.File) *output {
	return &output{pipe: pipe, ring: newRing(supervise.StderrTail), done: make(chan struct{})}
}

// collect reads until every writer has gone, or [output.stop].
func (o *output) collect() {
	defer close(o.done)
	buf := make([]byte, 8<<10)
	for {
		n, err := o.pipe.Read(buf)
		o.mu.Lock()
		o.ring.write(buf[:n])
		o.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// tail returns what is kept.
func (o *output) tail() []byte {
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
