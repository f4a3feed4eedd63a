package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// initCommand runs a machine; it is not for people.
const initCommand = "init"

// restartDelay is between a service's end and its next start.
const restartDelay = time.Second

// init is the machine's first process: it never returns while the machine runs.
func (m *machine) init(ctx context.Context) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("%s is what the first process of a machine runs: %w", initCommand, errUsage)
	}
	if err := unix.Sethostname([]byte(m.name)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := m.mount(); err != nil {
		return err
	}
	if err := os.Setenv("PATH", m.searchPath()); err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	s := &supervisor{m: m, running: map[int]*service{}}
	for _, one := range m.services() {
		go s.start(ctx, one)
	}
	return s.reap(ctx)
}

// searchPath is where a machine's programs are.
func (m *machine) searchPath() string {
	return m.c.spec.Node + ":" + m.c.spec.Runtime + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

// supervisor starts services, and starts them again.
type supervisor struct {
	m *machine

	mu      sync.Mutex
	running map[int]*service
}

// start starts a service when it can be started.
func (s *supervisor) start(ctx context.Context, one *service) {
	if one.after != nil {
		if err := one.after(ctx); err != nil {
			return // the machine ends
		}
	}
	// Held, so that whoever reaps the process finds it in the map.
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, err := s.spawn(one)
	if err != nil {
		slog.Error("service cannot be started", "service", one.name, "error", err)
		time.AfterFunc(restartDelay, func() { s.start(ctx, one) })
		return
	}
	slog.Info("service started", "service", one.name, "pid", pid)
	s.running[pid] = one
}

func (s *supervisor) spawn(one *service) (int, error) {
	log, err := os.OpenFile(s.m.path("log", one.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close() //nolint:errcheck // the child has its own descriptor
	path := s.m.program(one.name)
	if !filepath.IsAbs(path) {
		if path, err = exec.LookPath(path); err != nil {
			return 0, err
		}
	}
	process, err := os.StartProcess(path, append([]string{one.name}, one.args...), &os.ProcAttr{Files: []*os.File{null, log, log}, Dir: "/"})
	if err != nil {
		return 0, err
	}
	pid := process.Pid
	return pid, process.Release() // reaped by hand, with the orphans
}

// reap waits for every process that ends, its own and those that lost their parent.
func (s *supervisor) reap(ctx context.Context) error {
	for ctx.Err() == nil {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.ECHILD) {
			if err := pause(ctx, restartDelay/10); err != nil {
				return nil
			}
			continue
		} else if errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return fmt.Errorf("wait for services: %w", err)
		}
		s.ended(ctx, pid, status)
	}
	return nil
}

func (s *supervisor) ended(ctx context.Context, pid int, status unix.WaitStatus) {
	s.mu.Lock()
	one := s.running[pid]
	delete(s.running, pid)
	s.mu.Unlock()
	if one == nil {
		return // an orphan
	}
	slog.Info("service ended", "service", one.name, "pid", pid, "exit", status.ExitStatus(), "signal", int(status.Signal()))
	if one.once && status.Exited() && status.ExitStatus() == 0 {
		close(one.done)
		return
	}
	time.AfterFunc(restartDelay, func() { s.start(ctx, one) })
}
