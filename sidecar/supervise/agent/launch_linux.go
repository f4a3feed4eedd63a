package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// launcher starts workers, one after another, on an OS thread of its own. The
// thread lives as long as the launcher: a parent-death signal comes when the
// thread that forked ends, not the process (golang/go#27505).
type launcher struct {
	children *children
	root     *workRoot
	groups   *groups // nil: none
	grouped  bool    // cgroups work, as far as we know
	null     *os.File
	env      []string
	log      *slog.Logger
	requests chan func()
	done     chan struct{}
}

// order says what to launch.
type order struct {
	worker  string
	argv    []string
	env     []string
	limit   int64 // of each file written, in bytes; 0: none
	session *supervise.Session
	fd      int // the session's descriptor, which the order owns; -1 for a warm worker
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
	c := &child{dir: dir}
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
	env := workerEnv(l.env, o.env, dir.path, o.session)
	program, err := lookPath(o.argv[0], getenv(env, "PATH"))
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
	argv := append([]string{trampolineName, strconv.Itoa(os.Getpid()), strconv.FormatInt(max(o.limit, 0), 10), program}, o.argv...)
	attr := &syscall.ProcAttr{
		Dir: dir.path, Env: env,
		Files: []uintptr{l.null.Fd(), uintptr(theirs[0]), uintptr(theirs[0]), uintptr(third), uintptr(theirs[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if err := l.fork(c, o.worker, argv, attr); err != nil {
		return nil, err
	}
	return c, nil
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
	c.output = newOutput(pollable(out[0], "worker output"))
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

// fork starts the trampoline, in a cgroup of its own where that works. The
// first time that it does not, cgroups are given up.
func (l *launcher) fork(c *child, worker string, argv []string, attr *syscall.ProcAttr) error {
	start := func() (int, error) { return syscall.ForkExec("/proc/self/exe", argv, attr) }
	var err error
	if l.grouped {
		if c.group, err = l.groups.make(worker); err == nil {
			attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, c.group.fd
			c.pid, err = l.children.fork(start)
			c.group.started()
			if err == nil {
				return nil
			}
			_ = c.group.remove()
			c.group = nil
			attr.Sys.UseCgroupFD = false
		}
	}
	groupErr := err
	if c.pid, err = l.children.fork(start); err != nil {
		return fmt.Errorf("start process: %w", errors.Join(err, groupErr))
	}
	if groupErr != nil {
		l.log.Warn("cgroups are not usable after all", "error", groupErr)
		l.grouped = false
	}
	return nil
}

// abandon closes what a launch that failed had made.
func (c *child) abandon() {
	if c.output != nil {
		_ = c.output.pipe.Close()
	}
	if c.status != nil {
		_ = c.status.Close()
	}
	if c.control != nil {
		_ = c.control.Close()
	}
}

// pollable makes a file whose reads the runtime's poller waits for, so that it
// costs no thread and can be closed under a reader.
func pollable(fd int, name string) *os.File {
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}
