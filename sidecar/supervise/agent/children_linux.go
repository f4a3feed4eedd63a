package agent

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// children is what the agent knows of its own child processes: the live
// workers. It is locked from before a fork until the child is known, and while
// processes are listed, so that a worker is never taken for an orphan.
type children struct {
	mu   sync.Mutex
	pids map[int]struct{}
}

// fork runs f, which makes a child process.
func (c *children) fork(f func() (pid int, err error)) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := f()
	if err == nil {
		c.pids[pid] = struct{}{}
	}
	return pid, err
}

// reap takes the end of a worker, if it has ended.
func (c *children) reap(pid int) (e supervise.Exit, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var status unix.WaitStatus
	var usage unix.Rusage
	got, err := wait4(pid, &status, &usage)
	if err != nil {
		// Somebody else has taken it. Its end is a fact all the same.
		delete(c.pids, pid)
		return supervise.Exit{Code: -1}, true
	}
	if got != pid {
		return supervise.Exit{}, false
	}
	delete(c.pids, pid)
	e = supervise.Exit{
		Code:     status.ExitStatus(),
		UserTime: time.Duration(usage.Utime.Nano()),
		SysTime:  time.Duration(usage.Stime.Nano()),
		MaxRSS:   usage.Maxrss << 10, // the kernel counts in KiB
	}
	if status.Signaled() {
		e.Code, e.Signal, e.Core = -1, status.Signal(), status.CoreDump()
	}
	return e, true
}

// list calls f, which lists processes, while no worker can be started.
func (c *children) list(f func(workers map[int]struct{})) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.pids)
}

// reapOrphan takes the end of a child that nobody waits for, if it has ended.
func reapOrphan(pid int) bool {
	var status unix.WaitStatus
	got, err := wait4(pid, &status, nil)
	return err == nil && got == pid
}

func wait4(pid int, status *unix.WaitStatus, usage *unix.Rusage) (int, error) {
	for {
		got, err := unix.Wait4(pid, status, unix.WNOHANG, usage)
		if !errors.Is(err, unix.EINTR) {
			return got, err //nolint:wrapcheck // every caller knows what it means
		}
	}
}

// zombieWaits tells whether some child has ended and is not reaped.
func zombieWaits() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}

// signalExactly signals a process unless its pid is another's by now.
func (p *procfs) signalExactly(target process, signal unix.Signal) {
	fd, err := unix.PidfdOpen(target.pid, 0)
	if err != nil {
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
			_ = unix.Kill(target.pid, signal)
		}
		return
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	if now, err := p.stat(target.pid); err == nil && now.start == target.start {
		_ = unix.PidfdSendSignal(fd, signal, nil, 0)
	}
}
