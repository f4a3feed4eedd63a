package agent

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/internal/tail"
	"rpcpool.dev/sidecar/supervise"
)

// launcher starts workers, one after another, on an OS thread of its own. The
// thread lives as long as the launcher: a parent-death signal comes when the
// thread that forked ends, not the process (golang/go#27505).
type launcher struct {
	children *children
	root     *workRoot
	groups   *groups // nil: none
	null     *os.File
	env      []string
	log      *slog.Logger
	requests chan func()
	done     chan struct{}
}

// run does what do asks for, until stop.
func (l *launcher) run() {
	runtime.LockOSThread() // and never unlock: the thread must end with this goroutine
	defer close(l.done)
	for f := range l.requests {
		f()
	}
}

// do queues f to run on the launcher's thread.
func (l *launcher) do(f func()) { l.requests <- f }

func (l *launcher) stop() {
	close(l.requests)
	<-l.done
}

// launch starts a worker's trampoline. It must run on the launcher's thread.
// On failure nothing is left.
func (l *launcher) launch(o order) (_ *child, err error) {
	defer closeFD(o.fd)
	dir, err := l.root.make(o.worker)
	if err != nil {
		return nil, err
	}
	c := &child{dir: dir, begun: time.Now()}
	theirs := make([]int, 0, 4) // the worker's ends, ours only until it has them
	defer func() {
		for _, fd := range theirs {
			closeFD(fd)
		}
		if err != nil {
			c.abandon()
			if e := dir.remove(); e != nil {
				l.log.Error("work directory stays behind", "worker", o.worker, "error", e)
			}
		}
	}()
	l.group(c, o)
	if c.quota, err = newQuota(dir, o.start.Limits.WorkDir); err != nil {
		return nil, err
	}
	if c.notify, err = newNotifier(); err != nil {
		return nil, err
	}
	env := workerEnv(l.env, dir.path, c.notify.address, &o)
	program, err := lookPath(o.argv[0], getenv(env, "PATH"), ownDir())
	if err != nil {
		return nil, err
	}
	if theirs, err = c.plumb(o.fd, theirs); err != nil {
		return nil, err
	}
	third := o.fd
	if third < 0 {
		third = theirs[2]
	}
	plan, err := encodeTrampoline(trampoline{
		Agent: os.Getpid(), Program: program, Files: o.start.Limits.OpenFiles, FileSize: o.start.Limits.File,
		Groups: c.group.joins(),
	})
	if err != nil {
		return nil, err
	}
	argv := append([]string{trampolineName, plan}, o.argv...)
	attr := &syscall.ProcAttr{
		Dir: dir.path, Env: env,
		Files: []uintptr{l.null.Fd(), uintptr(theirs[0]), uintptr(theirs[0]), uintptr(third), uintptr(theirs[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if err := l.fork(c, argv, attr); err != nil {
		return nil, err
	}
	return c, nil
}

// group makes the worker's control groups. Where that does not work although it
// seemed to, the worker does without: a device that serves is worth more.
func (l *launcher) group(c *child, o order) {
	var err error
	if c.group, err = l.groups.make(o.worker, o.start.Limits); err != nil {
		l.log.Warn("control groups are not usable after all", "worker", o.worker, "error", err)
	}
}

// plumb makes the pipes between agent and worker and, for a warm worker (no
// session), its control socket. It appends the worker's ends to theirs: output,
// status, control.
func (c *child) plumb(session int, theirs []int) ([]int, error) {
	var out, status [2]int
	if err := unix.Pipe2(out[:], unix.O_CLOEXEC); err != nil {
		return theirs, fmt.Errorf("make output pipe: %w", err)
	}
	theirs = append(theirs, out[1])
	c.output = tail.New(pollable(out[0], "worker output"), supervise.StderrTail, nil)
	if err := unix.Pipe2(status[:], unix.O_CLOEXEC); err != nil {
		return theirs, fmt.Errorf("make status pipe: %w", err)
	}
	theirs = append(theirs, status[1])
	c.status = pollable(status[0], "worker status")
	if session >= 0 {
		if err := unix.SetNonblock(session, false); err != nil {
			return theirs, fmt.Errorf("make the session blocking: %w", err)
		}
		return theirs, nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return theirs, fmt.Errorf("make control socket: %w", err)
	}
	c.control = pollable(pair[0], "worker control")
	return append(theirs, pair[1]), nil
}

// fork starts the trampoline, in a version 2 group if there is one. On kernels
// that cannot (before 5.7, or under a filter of system calls) it goes there by
// itself, like into the others.
func (l *launcher) fork(c *child, argv []string, attr *syscall.ProcAttr) (err error) {
	pidfd := -1
	attr.Sys.PidFD = &pidfd
	attr.Sys.CgroupFD, attr.Sys.UseCgroupFD = c.group.descriptor()
	c.pid, err = l.children.fork(func() (int, error) {
		return syscall.ForkExec("/proc/self/exe", argv, attr)
	})
	c.group.started()
	if err != nil {
		return fmt.Errorf("start process: %w", err)
	}
	if pidfd >= 0 {
		c.exited = pollable(pidfd, "worker process")
	}
	return nil
}

// abandon closes what a launch that failed had made.
func (c *child) abandon() {
	if c.output != nil {
		_ = c.output.Close()
	}
	if c.status != nil {
		_ = c.status.Close()
	}
	if c.control != nil {
		_ = c.control.Close()
	}
	c.notify.close()
	c.quota.stop()
	_ = c.group.remove()
}

// pollable makes a file whose reads the runtime's poller waits for, so that it
// costs no thread and can be closed under a reader.
func pollable(fd int, name string) *os.File {
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}
