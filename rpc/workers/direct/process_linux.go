package direct

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/internal/tail"
	"rpcpool.dev/rpc/crash"
)

// process is a worker.
type process struct {
	starter   *Starter
	pid       int
	pidfd     *os.File // nil: the kernel has none (before 5.4)
	mark      string   // in its environment
	channel   net.Conn
	output    *tail.Pipe
	born      time.Time
	oomBefore uint64
	exited    chan struct{}
	report    crash.Report // there when exited is closed

	mu   sync.Mutex
	gone bool // it is reaped: its number may be another's
}

// Channel implements [workers.Process].
func (p *process) Channel() net.Conn { return p.channel }

// Exited implements [workers.Process].
func (p *process) Exited() <-chan struct{} { return p.exited }

// Report implements [workers.Process].
func (p *process) Report() crash.Report { return p.report }

// Kill implements [workers.Process]. The group is stopped first, so that what is below
// it does not change its place while it is looked for. The worker itself may have left it.
func (p *process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	_ = unix.Kill(-p.pid, unix.SIGSTOP)
	_ = unix.Kill(p.pid, unix.SIGSTOP)
	below := descendants(p.pid)
	_ = unix.Kill(-p.pid, unix.SIGKILL)
	for _, pid := range append(below, p.pid) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// watch waits for the end, and reaps.
func (p *process) watch() {
	if !p.poll() {
		for errors.Is(unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
		}
	}
	p.mu.Lock()
	_ = unix.Kill(-p.pid, unix.SIGKILL) // while its number is certain to be the group's
	var status unix.WaitStatus
	var used unix.Rusage
	var err error
	for {
		if _, err = unix.Wait4(p.pid, &status, 0, &used); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.gone = true
	p.mu.Unlock()
	if p.pidfd != nil {
		_ = p.pidfd.Close()
	}
	p.report = p.describe(status, &used, err)
	close(p.exited)
	p.output.Stop(0)
}

// poll waits for the end without a thread. It fails where the kernel has no pidfds.
func (p *process) poll() bool {
	if p.pidfd == nil {
		return false
	}
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(func(fd uintptr) bool {
		var ready [1]unix.PollFd
		ready[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		n, _ := unix.Poll(ready[:], 0)
		return n > 0
	}) == nil
}

func (p *process) describe(status unix.WaitStatus, used *unix.Rusage, err error) crash.Report {
	out := p.output.Tail()
	r := crash.Report{
		PID: p.pid, Status: -1, Core: status.CoreDump(), Output: out, Stack: crash.StackOf(out),
		User: time.Duration(used.Utime.Nano()), System: time.Duration(used.Stime.Nano()), MaxRSS: used.Maxrss << 10,
	}
	switch {
	case err != nil:
		r.Text = "its status is lost: " + err.Error()
	case status.Signaled():
		r.Signal = int(status.Signal())
		r.OOM = status.Signal() == syscall.SIGKILL && p.starter.oom.read() > p.oomBefore
	default:
		r.Status = status.ExitStatus()
	}
	return r
}
