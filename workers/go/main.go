//go:build unix

package worker

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The worker contract: what an agent and its workers agree on.
const (
	envSession   = "RPCPOOL_SESSION"    // how the session comes
	envWorkDir   = "RPCPOOL_WORKDIR"    // the session's own directory
	envSessionID = "RPCPOOL_SESSION_ID" // whose session it is; set by Main itself if it came by a socket
	envKey       = "RPCPOOL_KEY"
	envClient    = "RPCPOOL_CLIENT"
	envTimeout   = "RPCPOOL_TIMEOUT_S" // cold: the session's length at most, in decimal seconds; 0: no bound
	envTemporary = "TMPDIR"            // watchdog: follows RPCPOOL_WORKDIR

	sessionFD       = "fd"       // cold: descriptor 3 is the session
	sessionUnix     = "unix"     // warm: descriptor 3 is a Unix socket that the session will come by
	sessionWatchdog = "watchdog" // long-lived: sessions come by it one after another

	contractFD = 3

	readyByte    = 'R' // worker to agent: ready
	protocolByte = 'P' // worker to agent, before R: the client of the last session broke the protocol
	sessionByte  = 'S' // agent to worker: JSON and the session's descriptor come with it
)

// errUnused says that the agent let a worker go that waits for a session.
var errUnused = errors.New("not used")

// Main serves the session, or the sessions, that the agent hands to this
// process, by the worker contract, and returns the exit status: [ExitOK] if the
// session ended in order, if the client went away or if the agent has no (more)
// session for it, [ExitProtocol] if the client broke the protocol, [ExitUsage]
// if the process was not started by an agent. What is worth telling goes to
// stderr.
//
// In Watchdog isolation (RPCPOOL_SESSION=watchdog) sessions come one after
// another. Main then returns when no more will come; a session that outlives
// its deadline ends the process, with status 0 and at once.
//
// Main handles no signal: SIGTERM ends the process, whatever a function does. A
// file over its limit (SIGXFSZ) is an error of the write, by Go's own default.
func Main(s *Server) int {
	s.SetWorkDir(workDir())
	p := newPulse()
	switch mode := os.Getenv(envSession); mode {
	case sessionFD:
		return serveOnly(s, p, cold)
	case sessionUnix:
		rehearse(s.flavour, s.workDir)
		return serveOnly(s, p, warm)
	case sessionWatchdog:
		rehearse(s.flavour, s.workDir)
		return serveSeries(s, p)
	default:
		return complain(fmt.Errorf("%s is %q, want %q, %q or %q: a worker is started by an agent, as by 'rpcpool serve'",
			envSession, mode, sessionFD, sessionUnix, sessionWatchdog))
	}
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

// complain is the end of a worker that got no session to serve.
func complain(err error) int {
	if errors.Is(err, errUnused) {
		return ExitOK
	}
	fmt.Fprintf(os.Stderr, "rpcpool worker: %v\n", err)
	return ExitUsage
}

// serveOnly serves the one session of this process.
func serveOnly(s *Server, p *pulse, accept func(*pulse) (guest, error)) int {
	g, err := accept(p)
	if err != nil {
		return complain(err)
	}
	return exitStatus(s.host(g, setting{workDir: s.workDir, pulse: p, deadline: g.about.deadline()}))
}

// cold takes the session that this process was started with.
func cold(*pulse) (guest, error) {
	seconds, _ := strconv.ParseFloat(os.Getenv(envTimeout), 64)
	return guest{contractFD, handOver{Client: os.Getenv(envClient), Timeout: seconds}}, nil
}

// warm says that this worker is ready and waits for its session, which takes
// the place of the Unix socket.
func warm(p *pulse) (guest, error) {
	syscall.CloseOnExec(contractFD)
	g, err := nextGuest(contractFD, []byte{readyByte}, p)
	if err != nil {
		return g, err
	}
	if err := unix.Dup2(g.fd, contractFD); err != nil {
		return g, fmt.Errorf("session descriptor: %w", err)
	}
	_ = syscall.Close(g.fd)
	g.fd = contractFD
	_, err = setEnv(g.about.env())
	return g, err
}
