//go:build unix

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxHandOver bounds the message that a session comes with, in bytes.
const maxHandOver = 64 << 10

// handOver is what the agent says about a session that comes by a socket.
type handOver struct {
	ID      string  `json:"id"`
	Key     string  `json:"key"`
	Client  string  `json:"client"`
	Timeout float64 `json:"timeout_s"` // seconds; 0: no bound
	WorkDir string  `json:"workdir"`   // watchdog only: the session's own
}

// timeout is the session's length at most; 0: no bound.
func (h *handOver) timeout() time.Duration {
	if !(h.Timeout > 0) { // NaN, too
		return 0
	}
	return time.Duration(min(h.Timeout*float64(time.Second), math.MaxInt64/2))
}

// deadline is the end of a session that starts now; zero: there is none.
func (h *handOver) deadline() time.Time {
	if d := h.timeout(); d > 0 {
		return time.Now().Add(d)
	}
	return time.Time{}
}

// env tells functions whose session it is.
func (h *handOver) env() map[string]string {
	return map[string]string{envSessionID: h.ID, envKey: h.Key, envClient: h.Client}
}

// setEnv sets variables and returns what puts them back.
func setEnv(vars map[string]string) (restore func(), err error) {
	type variable struct {
		value string
		set   bool
	}
	before := make(map[string]variable, len(vars))
	restore = func() {
		for name, v := range before {
			if v.set {
				_ = os.Setenv(name, v.value)
			} else {
				_ = os.Unsetenv(name)
			}
		}
	}
	for name, value := range vars {
		old, set := os.LookupEnv(name)
		before[name] = variable{old, set}
		if err := os.Setenv(name, value); err != nil {
			restore()
			return nil, fmt.Errorf("hand-over: %w", err)
		}
	}
	return restore, nil
}

// guest is a session that came to this worker.
type guest struct {
	fd    int
	about handOver
}

// host serves the session and closes its descriptor.
func (s *Server) host(g guest, set setting) error {
	conn, err := newSocket(g.fd)
	if err == nil {
		err = s.serve(context.Background(), set.pulse.conn(conn), set)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "rpcpool worker: session with %s: %v\n", g.about.Client, err)
	}
	return err
}

// nextGuest says on the Unix socket fd that this worker is ready, in the given
// words, and waits for a session. The error is errUnused if none will come.
func nextGuest(fd int, ready []byte, p *pulse) (guest, error) {
	if _, err := syscall.Write(fd, ready); err != nil {
		if isReset(err) {
			return guest{}, errUnused
		}
		return guest{}, fmt.Errorf("report ready: %w", err)
	}
	session, about, err := receiveDescriptor(fd, p)
	return guest{session, about}, err
}

// receiveDescriptor reads one hand-over. The descriptor comes with the first
// byte; what is said about it may take more than one read.
func receiveDescriptor(fd int, p *pulse) (session int, about handOver, err error) {
	buf, oob := make([]byte, 0, maxHandOver), make([]byte, syscall.CmsgSpace(4))
	session = -1
	for {
		p.wait(fd, unix.POLLIN)
		n, oobn, err := receive(fd, buf[len(buf):cap(buf)], oob)
		if n == 0 && err == nil {
			err = io.EOF
		}
		switch {
		case err != nil && len(buf) == 0 && (errors.Is(err, io.EOF) || isReset(err)):
			return -1, about, errUnused
		case err != nil:
			return -1, about, fmt.Errorf("receive session: %w", err)
		}
		buf = buf[:len(buf)+n]
		if session < 0 {
			if session, err = descriptor(oob[:oobn]); err != nil {
				return -1, about, err
			}
		}
		if buf[0] != sessionByte {
			return -1, about, fmt.Errorf("hand-over starts with %q, want %q", buf[0], sessionByte)
		}
		err = json.Unmarshal(buf[1:], &about)
		if err == nil {
			return session, about, nil
		}
		if len(buf) == cap(buf) || !truncated(buf[1:]) {
			return -1, about, fmt.Errorf("hand-over: %w", err)
		}
	}
}

// truncated tells whether text is the start of a JSON object that is not
// closed yet: it is not JSON, and ends without the closing brace.
func truncated(text []byte) bool {
	return len(text) == 0 || text[len(text)-1] != '}'
}

func receive(fd int, p, oob []byte) (n, oobn int, err error) {
	for {
		n, oobn, _, _, err = syscall.Recvmsg(fd, p, oob, 0)
		if err != syscall.EINTR {
			return n, oobn, err
		}
	}
}

func descriptor(oob []byte) (int, error) {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, fmt.Errorf("hand-over: %w", err)
	}
	for i := range messages {
		if fds, err := syscall.ParseUnixRights(&messages[i]); err == nil && len(fds) == 1 {
			syscall.CloseOnExec(fds[0])
			return fds[0], nil
		}
	}
	return -1, errors.New("hand-over has no descriptor")
}
