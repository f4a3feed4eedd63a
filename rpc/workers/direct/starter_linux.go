package direct

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/internal/tail"
	"rpcpool.dev/rpc/worker"
	"rpcpool.dev/rpc/workers"
)

// variable marks workers and what they start.
const variable = "RPCPOOL_WORKER"

// Starter starts workers. It must be closed, after the pool that uses it.
type Starter struct {
	cmd    Command
	null   *os.File
	oom    oom
	mark   string // of this starter's workers, in their environment
	last   atomic.Uint64
	launch chan func() // to the thread that forks
	sweep  *sweeper
	ends   sync.WaitGroup // workers that are watched
	over   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	live   map[*process]struct{}
}

var _ workers.Starter = (*Starter)(nil)

// New makes a starter.
func New(cmd Command) (*Starter, error) {
	if cmd.Path == "" || cmd.Tail < 0 {
		return nil, errors.New("bad command of a worker: no path, or a negative tail")
	}
	path, err := filepath.Abs(cmd.Path)
	if err != nil {
		return nil, fmt.Errorf("program of workers: %w", err)
	}
	cmd.Path = path
	if cmd.Tail == 0 {
		cmd.Tail = 64 << 10
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("start of workers: %w", err)
	}
	var id [8]byte
	_, _ = rand.Read(id[:])
	s := &Starter{cmd: cmd, null: null, oom: findOOM(), mark: hex.EncodeToString(id[:]), launch: make(chan func()), live: map[*process]struct{}{}}
	closeOnExec()
	s.sweep = newSweeper()
	s.over.Go(s.sweep.run)
	s.over.Go(s.launcher)
	return s, nil
}

// closeOnExec marks what this process has from 3 on.
func closeOnExec() {
	list, _ := os.ReadDir("/proc/self/fd")
	for _, e := range list {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// launcher forks. A parent-death signal comes when the thread ends that has forked
// (golang/go#27505), so it is a thread of its own, which ends with the starter.
func (s *Starter) launcher() {
	runtime.LockOSThread() // and never unlock
	for f := range s.launch {
		f()
	}
}

// Start implements [workers.Starter].
func (s *Starter) Start(ctx context.Context) (workers.Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err //nolint:wrapcheck // the caller's own reason
	}
	var p *process
	var err error
	done := make(chan struct{})
	s.launch <- func() {
		defer close(done)
		p, err = s.start()
	}
	<-done
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.cmd.Path, err)
	}
	s.live[p] = struct{}{}
	s.ends.Go(func() {
		p.watch()
		s.mu.Lock()
		delete(s.live, p)
		s.mu.Unlock()
		s.sweep.after(p)
	})
	return p, nil
}

// start makes a worker, on the launcher's thread.
func (s *Starter) start() (_ *process, err error) {
	p := &process{starter: s, exited: make(chan struct{}), born: time.Now(), oomBefore: s.oom.read()}
	var theirs [2]int // the worker's ends: socket, pipe
	if theirs, err = p.plumb(s.cmd); err != nil {
		return nil, err
	}
	defer unix.Close(theirs[0]) //nolint:errcheck // the worker has it now, or nobody
	defer unix.Close(theirs[1]) //nolint:errcheck // the same
	p.mark = variable + "=" + s.mark + "." + strconv.FormatUint(s.last.Add(1), 10)
	env := append(append(os.Environ(), s.cmd.Env...), worker.Variable+"="+worker.Calls, p.mark)
	pidfd := -1
	p.pid, err = syscall.ForkExec(s.cmd.Path, append([]string{s.cmd.Path}, s.cmd.Args...), &syscall.ProcAttr{
		Dir: s.cmd.Dir, Env: env,
		Files: []uintptr{s.null.Fd(), uintptr(theirs[1]), uintptr(theirs[1]), uintptr(theirs[0])},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &pidfd},
	})
	if err != nil {
		_ = p.channel.Close()
		_ = p.output.Close()
		return nil, err //nolint:wrapcheck // Start does
	}
	if pidfd >= 0 {
		_ = unix.SetNonblock(pidfd, true)
		p.pidfd = os.NewFile(uintptr(pidfd), "worker")
	}
	go p.output.Collect()
	for _, l := range s.cmd.Limits {
		err = errors.Join(err, unix.Prlimit(p.pid, l.Resource, &unix.Rlimit{Cur: l.Value, Max: l.Value}, nil))
	}
	if err != nil {
		p.Kill()
		p.watch()
		_ = p.channel.Close()
		return nil, fmt.Errorf("limits: %w", err)
	}
	return p, nil
}

// plumb makes the call channel and the pipe of the output, and returns the worker's
// ends.
func (p *process) plumb(cmd Command) (theirs [2]int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return theirs, fmt.Errorf("call channel: %w", err)
	}
	ours := os.NewFile(uintptr(pair[0]), "call channel")
	nc, err := net.FileConn(ours)
	_ = ours.Close()
	var pipe [2]int
	if err == nil {
		err = unix.Pipe2(pipe[:], unix.O_CLOEXEC)
	}
	if err != nil {
		_ = unix.Close(pair[1])
		if nc != nil {
			_ = nc.Close()
		}
		return theirs, fmt.Errorf("channels of a worker: %w", err)
	}
	_ = unix.SetNonblock(pipe[0], true)
	p.channel = nc
	p.output = tail.New(os.NewFile(uintptr(pipe[0]), "output of a worker"), cmd.Tail, cmd.Output)
	return [2]int{pair[1], pipe[1]}, nil
}

// Close kills the workers that are left, and returns when nothing is.
func (s *Starter) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	left := make([]*process, 0, len(s.live))
	for p := range s.live {
		left = append(left, p)
	}
	s.mu.Unlock()
	for _, p := range left {
		p.Kill()
	}
	s.ends.Wait()
	close(s.launch)
	s.sweep.stop()
	s.over.Wait()
	return s.null.Close() //nolint:wrapcheck // it cannot fail
}
