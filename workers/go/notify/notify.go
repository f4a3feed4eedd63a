//go:build unix

package notify

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Names of the environment, by sd_notify(3) and by the worker contract.
const (
	envSocket  = "NOTIFY_SOCKET"
	envTimeout = "WATCHDOG_USEC"
	envPID     = "WATCHDOG_PID"
	envPhases  = "RPCPOOL_PHASES"
)

// Phases of a session. A supervisor may give each a budget of its own.
const (
	PhaseUpload = "upload" // a client's bytes come in
	PhaseLoad   = "load"   // a module is loaded
	PhaseRun    = "run"    // another function is called
)

// Notifier sends messages to a supervisor. Its methods may be called by several
// goroutines at a time. They wait while the supervisor has no room for another
// message, and report no errors: there is nobody to report them to.
type Notifier struct {
	fd      int
	to      unix.Sockaddr
	timeout time.Duration
	phases  []string
}

// FromEnv returns the Notifier that the environment asks for, nil if it asks
// for none or its socket cannot be used.
func FromEnv() *Notifier {
	name := os.Getenv(envSocket)
	if name == "" || name[0] != '/' && name[0] != '@' {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return nil
	}
	unix.CloseOnExec(fd)
	n := &Notifier{fd: fd, to: &unix.SockaddrUnix{Name: name}}
	if usec, err := strconv.ParseInt(os.Getenv(envTimeout), 10, 64); err == nil && usec > 0 && isOurs(os.Getenv(envPID)) {
		n.timeout = time.Duration(min(usec, int64(maxTimeout/time.Microsecond))) * time.Microsecond
	}
	if list := os.Getenv(envPhases); list != "" {
		n.phases = strings.Split(list, ",")
	}
	return n
}

const maxTimeout = 365 * 24 * time.Hour

// isOurs tells whether the heartbeats are wanted from this process.
func isOurs(pid string) bool { return pid == "" || pid == strconv.Itoa(os.Getpid()) }

// Interval is the time after which the next heartbeat is due: half of what the
// supervisor waits for one. 0: it wants none.
func (n *Notifier) Interval() time.Duration {
	if n == nil {
		return 0
	}
	return n.timeout / 2
}

// Wants tells whether the supervisor wants to know of a phase.
func (n *Notifier) Wants(phase string) bool {
	if n == nil {
		return false
	}
	for _, p := range n.phases {
		if p == phase {
			return true
		}
	}
	return false
}

// Ready says that the program is ready.
func (n *Notifier) Ready() { n.send("READY=1") }

// Beat is a heartbeat. It ends what Extend began.
func (n *Notifier) Beat() { n.send("WATCHDOG=1") }

// Extend says that no heartbeat will come for d, and that this is no fault. If
// d is zero or less, none will come until the next one does.
func (n *Notifier) Extend(d time.Duration) {
	usec := int64(0)
	if d > 0 { // upwards, for 0 means something else
		usec = int64((d-1)/time.Microsecond) + 1
	}
	n.send("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(usec, 10))
}

// Phase says that a phase begins, or with "" that it is over.
func (n *Notifier) Phase(name string) { n.send("X_RPCPOOL_PHASE=" + name) }

// Close gives the socket back. Methods called later send nothing.
func (n *Notifier) Close() {
	if n != nil {
		_ = unix.Close(n.fd)
	}
}

func (n *Notifier) send(message string) {
	if n == nil {
		return
	}
	for unix.Sendto(n.fd, []byte(message), 0, n.to) == unix.EINTR {
		continue
	}
}
