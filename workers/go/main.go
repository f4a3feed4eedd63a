//go:build unix

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The worker contract: what an agent and its workers agree on.
const (
	envSession   = "RPCPOOL_SESSION"    // how the session comes
	envWorkDir   = "RPCPOOL_WORKDIR"    // the session's own directory
	envSessionID = "RPCPOOL_SESSION_ID" // whose session it is; set by Main itself if it came warm
	envKey       = "RPCPOOL_KEY"
	envClient    = "RPCPOOL_CLIENT"

	sessionFD   = "fd"   // cold: descriptor 3 is the session
	sessionUnix = "unix" // warm: descriptor 3 is a Unix socket that the session will come by

	contractFD = 3

	readyByte   = 'R' // worker to agent: ready
	sessionByte = 'S' // agent to worker: JSON and the session's descriptor come with it
)

// maxHandOver bounds the message that a warm session comes with, in bytes.
const maxHandOver = 64 << 10

// handOver is what the agent says about a warm session.
type handOver struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	Client string `json:"client"`
}

// errUnused says that the agent let a warm worker go without a session.
var errUnused = errors.New("not used")

// Main serves the one session that the agent hands to this process, by the
// worker contract, and returns the exit status: [ExitOK] if the session ended
// in order, if the client went away or if a spare worker was not used,
// [ExitProtocol] if the client broke the protocol, [ExitUsage] if the process
// was not started by an agent. What is worth telling goes to stderr.
//
// Main handles no signal: SIGTERM ends the process, whatever a function does. A
// file over its limit (SIGXFSZ) is an error of the write, by Go's own default.
func Main(s *Server) int {
	s.SetWorkDir(workDir())
	conn, err := acceptSession(os.Getenv(envSession), func() { rehearse(s.flavour, s.workDir) })
	switch {
	case errors.Is(err, errUnused):
		return ExitOK
	case err != nil:
		fmt.Fprintf(os.Stderr, "rpcpool worker: %v\n", err)
		return ExitUsage
	}
	err = s.ServeConn(context.Background(), conn)
	if err != nil {
		fmt.Fprintf(os.Stderr, "rpcpool worker: session with %s: %v\n", os.Getenv(envClient), err)
	}
	return exitStatus(err)
}

func workDir() string {
	if dir := os.Getenv(envWorkDir); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return dir
}

// acceptSession takes the session in the given mode; prepare is run before a
// spare worker says that it is ready.
func acceptSession(mode string, prepare func()) (*socket, error) {
	switch mode {
	case sessionFD:
		return newSocket(contractFD)
	case sessionUnix:
		prepare()
		return receiveSession(contractFD)
	default:
		return nil, fmt.Errorf("%s is %q, want %q or %q: a worker is started by an agent, as by 'rpcpool serve'",
			envSession, mode, sessionFD, sessionUnix)
	}
}

// receiveSession says that this worker is ready and waits for its session on
// the Unix socket fd. The session takes fd's place.
func receiveSession(fd int) (*socket, error) {
	syscall.CloseOnExec(fd)
	if _, err := syscall.Write(fd, []byte{readyByte}); err != nil {
		if isReset(err) {
			return nil, errUnused
		}
		return nil, fmt.Errorf("report ready: %w", err)
	}
	session, about, err := receiveDescriptor(fd)
	if err != nil {
		return nil, err
	}
	if err := unix.Dup2(session, fd); err != nil {
		return nil, fmt.Errorf("session descriptor: %w", err)
	}
	_ = syscall.Close(session)
	for name, value := range map[string]string{envSessionID: about.ID, envKey: about.Key, envClient: about.Client} {
		if err := os.Setenv(name, value); err != nil {
			return nil, fmt.Errorf("hand-over: %w", err)
		}
	}
	return newSocket(fd)
}

// receiveDescriptor reads one hand-over. The descriptor comes with the first
// byte; what is said about it may take more than one read.
func receiveDescriptor(fd int) (session int, about handOver, err error) {
	buf, oob := make([]byte, 0, maxHandOver), make([]byte, syscall.CmsgSpace(4))
	session = -1
	for {
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
