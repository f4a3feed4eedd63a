package agent

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// maxTold bounds the memory of refusals that were logged.
const maxTold = 256

// climbs bounds the attempts to follow an ancestry that changes meanwhile.
const climbs = 8

var (
	errBelow    = errors.New("it is below the agent")
	errGone     = errors.New("it is gone")
	errAncestry = errors.New("its ancestry changes all the time")
)

// doorman keeps the processes below the agent away from its socket: a program
// under test may find it, and with the agent's user may open it, but must not
// be taken for the sidecar.
type doorman struct {
	proc      *procfs // its own
	strangers map[int]uint64
	exists    func(pid int) bool
	told      map[int]uint64 // whose refusal was logged, by pid with the start time
}

func newDoorman(strangers map[int]uint64) *doorman {
	return &doorman{proc: newProcfs(), strangers: strangers, exists: processExists, told: map[int]uint64{}}
}

// inspect returns an error if the process that connected cannot be the sidecar,
// with the agent's child that it is, or is below, if there is one. Pid 0 is a
// process in another pid namespace, where no worker's descendant can be: those
// of inner namespaces have pids in ours.
func (d *doorman) inspect(pid int) (below process, err error) {
	if pid == 0 || pid == d.proc.self {
		return process{}, nil
	}
	for range climbs {
		if below, err = d.climb(pid); !errors.Is(err, errAncestry) {
			break
		}
	}
	switch {
	case err != nil:
		return process{}, err
	case !d.proc.orphaned(below) || d.strangers[below.pid] == below.start:
		return process{}, nil
	}
	return below, errBelow
}

// climb follows the parents from pid to the agent, and returns the last one
// before it; zero if the agent is not among them.
func (d *doorman) climb(pid int) (process, error) {
	at, err := d.proc.stat(pid)
	if err != nil {
		if d.exists(pid) {
			return process{}, nil // /proc hides it (hidepid): it is another user's
		}
		return process{}, errGone
	}
	for at.parent != d.proc.self {
		if at.parent == 0 {
			return process{}, nil
		}
		above, err := d.proc.stat(at.parent)
		switch {
		case err != nil && d.exists(at.parent):
			return process{}, nil
		case err != nil || above.start > at.start: // the parent ended, and its pid may be another's
			return process{}, errAncestry
		}
		at = above
	}
	return at, nil
}

// tell is true the first time for a process, so that one which tries for ever
// does not fill the log.
func (d *doorman) tell(p process) bool {
	if start, ok := d.told[p.pid]; ok && start == p.start {
		return false
	}
	if len(d.told) >= maxTold {
		clear(d.told)
	}
	d.told[p.pid] = p.start
	return true
}

// admit tells whether a connection may be the sidecar's.
func (s *supervisor) admit(d *doorman, c *net.UnixConn) bool {
	pid, err := peerPID(c)
	var below process
	if err == nil {
		below, err = d.inspect(pid)
	}
	if err != nil && d.tell(below) {
		s.post(func() {
			s.log.Warn("connection to the agent's socket is refused",
				"pid", pid, "reason", err, "worker", s.workerOf(below.pid))
		})
	}
	return err == nil
}

// workerOf names the worker with this pid; "" if there is none.
func (s *supervisor) workerOf(pid int) string {
	for _, w := range s.workers {
		if w.child != nil && w.child.pid == pid {
			return w.id
		}
	}
	return ""
}

// peerPID returns the pid of the process that connected.
func peerPID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("ask for the peer: %w", err)
	}
	var cred *unix.Ucred
	var optErr error
	err = raw.Control(func(fd uintptr) {
		cred, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, optErr); err != nil {
		return 0, fmt.Errorf("ask for the peer: %w", os.NewSyscallError("getsockopt", err))
	}
	return int(cred.Pid), nil
}

// processExists asks the kernel, without /proc.
func processExists(pid int) bool {
	_, err := unix.Getsid(pid)
	return !errors.Is(err, unix.ESRCH)
}
