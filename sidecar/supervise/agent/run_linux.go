package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// running guards what a process has only once: its children and orphans.
var running atomic.Bool

// flushWait bounds the wait for the last events to be sent when the agent ends.
const flushWait = time.Second

// Run runs an agent until ctx is done; then it kills all workers, waits until
// their trees are gone, removes their work directories and returns nil, or
// [ErrUnkillable] if some outlive SIGKILL for their reap timeout. It makes the
// process a child subreaper for good. Errors: [ErrRunning], [ErrWorkRootInUse],
// and what the socket or the work root have to say.
func Run(ctx context.Context, o Options) (err error) {
	o, err = o.withDefaults()
	if err != nil {
		return err
	}
	if !running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer running.Store(false)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	s, err := newSupervisor(o)
	if err != nil {
		return err
	}
	defer s.close()
	listener, err := listen(o.Socket)
	if err != nil {
		return err
	}
	s.starts = s.countStart()
	childSignals := make(chan os.Signal, 1)
	signal.Notify(childSignals, syscall.SIGCHLD)
	defer signal.Stop(childSignals)
	// Whoever reads the log may die before the agent. Without this, the next
	// line would end the agent before it could clean up. (It must not be
	// ignored, for workers would inherit that.)
	brokenPipes := make(chan os.Signal, 1)
	signal.Notify(brokenPipes, syscall.SIGPIPE)
	defer signal.Stop(brokenPipes)
	go s.launcher.run()
	s.wait(func() { s.accept(listener) })
	s.log.Info("agent listens", "socket", o.Socket, "workRoot", s.root.path, "cgroups", s.launcher.groups != nil)
	err = s.loop(ctx, childSignals)
	s.shutdown(listener)
	return err
}

// newSupervisor takes hold of the work root and removes what earlier agents
// left there.
func newSupervisor(o Options) (*supervisor, error) {
	root, err := openWorkRoot(o.WorkRoot, o.Logger)
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		root.close()
		return nil, fmt.Errorf("agent: %w", err)
	}
	s := &supervisor{
		o: o, log: o.Logger, root: root, proc: newProcfs(), oom: newOOMCounter("/"),
		children: &children{pids: map[int]struct{}{}}, workers: map[string]*worker{},
		memory: memoryLimit("/"), instance: rand.Text(), cores: newCores(o.CoreDir),
		inbox: make(chan func()), ended: make(chan struct{}),
		sweepTimer: time.NewTimer(0),
	}
	s.launcher = &launcher{
		children: s.children, root: root, null: null, env: os.Environ(), log: o.Logger,
		requests: make(chan func(), o.MaxWorkers), done: make(chan struct{}),
	}
	s.removeLeftovers()
	if s.strangers, err = s.proc.ownChildren(); err != nil {
		s.close()
		return nil, err
	}
	if !o.NoCgroup {
		groups, err := newGroups(s.proc)
		if err != nil {
			s.log.Info("agent works without control groups", "reason", err)
		}
		s.launcher.groups = groups
	}
	return s, nil
}

// countStart counts, in a file beside the socket, the agents that ever started
// there, and returns this one's number, from 1 on; 0 if it cannot be kept.
func (s *supervisor) countStart() uint64 {
	path := s.o.Socket + ".starts"
	b, _ := os.ReadFile(path)
	n, _ := strconv.ParseUint(string(b), 10, 63) // of a damaged file: from the beginning
	n++
	if err := os.WriteFile(path, strconv.AppendUint(nil, n, 10), 0o600); err != nil {
		s.log.Warn("agent's starts are not counted", "error", err)
		return 0
	}
	return n
}

// removeLeftovers kills the processes and removes the directories of workers
// whose agent died.
func (s *supervisor) removeLeftovers() {
	prefix := filepath.Join(s.root.path, WorkDirPrefix)
	resolved := prefix // as the kernel names it
	if root, err := filepath.EvalSymlinks(s.root.path); err == nil {
		resolved = filepath.Join(root, WorkDirPrefix)
	}
	for pause := time.Millisecond; pause < time.Second; pause *= 2 {
		strays := append(s.proc.strays(envWorkDir+"="+prefix), s.proc.settled(resolved)...)
		alive := 0
		for _, pid := range strays {
			if p, err := s.proc.stat(pid); err == nil && p.state != 'Z' && s.proc.sees(pid, s.root.path) {
				alive++
				s.proc.signalExactly(p, unix.SIGKILL)
			}
		}
		if alive == 0 {
			break
		}
		s.log.Warn("processes of an earlier agent's workers are killed", "count", alive)
		time.Sleep(pause)
	}
	removed, err := s.root.wipe()
	if err != nil {
		s.log.Error("work directories of an earlier agent stay behind", "error", err)
	}
	if len(removed) > 0 {
		s.log.Info("work directories of an earlier agent are removed", "count", len(removed))
	}
}

// listen makes the socket that the sidecar connects to.
func listen(path string) (*net.UnixListener, error) {
	const mode = 0o660
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("agent socket: %w", err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("agent socket: %w", err)
		}
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// The mode of the descriptor is that of the file which bind makes, so
		// there is no moment at which the socket is open to all.
		var err error
		if e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), mode) }); e != nil {
			return e
		}
		return err
	}}
	l, err := config.Listen(context.Background(), "unixpacket", path)
	if err != nil {
		return nil, fmt.Errorf("agent socket: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil { // bind applied the umask
		return nil, errors.Join(fmt.Errorf("agent socket: %w", err), l.Close())
	}
	return l.(*net.UnixListener), nil //nolint:forcetypeassert // network "unixpacket" gives this type
}

// accept takes the sidecar's connections, and nobody else's that can be told
// from it, until the listener is closed.
func (s *supervisor) accept(l *net.UnixListener) {
	door := newDoorman(s.strangers)
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Warn("sidecar cannot connect", "error", err)
			time.Sleep(10 * time.Millisecond) // out of descriptors, say
			continue
		}
		if !s.admit(door, c) {
			_ = c.Close()
			continue
		}
		_ = c.SetWriteBuffer(2 * supervise.MaxMessage) // the largest message must fit whole
		if !s.post(func() { s.connect(supervise.NewConn(c)) }) {
			_ = c.Close()
		}
	}
}

// shutdown ends everything that runs beside the loop, which has returned.
func (s *supervisor) shutdown(l *net.UnixListener) {
	close(s.ended)
	_ = l.Close()
	s.launcher.stop()
	if s.link != nil {
		s.link.finish(flushWait)
	}
	s.abandon()
	s.waiters.Wait()
}

// close lets go of what newSupervisor took.
func (s *supervisor) close() {
	s.launcher.groups.close()
	_ = s.launcher.null.Close()
	s.sweepTimer.Stop()
	s.root.close()
}
