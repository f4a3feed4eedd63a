//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// leaseName is what the operators call their Lease by default.
const leaseName = "rpcpool-operator"

// acquired is what Kubernetes' library logs in the process that was elected. The
// Lease names its holder by a host and a number that only that process knows.
const acquired = "Successfully acquired lease"

// maxOperators is how many there can be in a run: each has an address of its own,
// for documentation, and nobody connects to it.
const maxOperators = 3 * 254

// hostOf is the address of an operator.
func hostOf(number int) string {
	return fmt.Sprintf("%s.%d", []string{"192.0.2", "198.51.100", "203.0.113"}[number/254], 1+number%254)
}

// operator is one process of rpcpool-manager.
type operator struct {
	number int
	cmd    *exec.Cmd
	log    string
	ended  chan struct{} // closed when it has
	struck bool          // its end is our doing
}

// operators are those that run, and were.
type operators struct {
	path string
	args []string
	dir  string // of their logs

	mu      sync.Mutex
	wrong   []string
	started int
	running []*operator
	elected *operator // who was elected last
	gaveUp  int       // operators that ended by themselves
	closing bool
}

// start starts one more. In place of one that ends by itself, another one is
// started: an operator that cannot renew its Lease ends, and that may happen on a
// busy machine.
func (s *operators) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started == maxOperators {
		return errors.New("too many operators")
	}
	o := &operator{number: s.started, log: filepath.Join(s.dir, fmt.Sprintf("operator-%d.log", s.started)), ended: make(chan struct{})}
	s.started++
	log, err := os.Create(o.log)
	if err != nil {
		return fmt.Errorf("log of an operator: %w", err)
	}
	o.cmd = exec.Command(s.path, append(slices.Clone(s.args), "--tracker-host", hostOf(o.number))...) //nolint:noctx // it is ended by its id
	o.cmd.SysProcAttr = proc.ChildAttr()
	out, err := o.cmd.StderrPipe()
	if err == nil {
		err = o.cmd.Start()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start an operator: %w", err), log.Close())
	}
	s.running = append(s.running, o)
	go func() {
		defer close(o.ended)
		s.read(o, out, log)
		_ = o.cmd.Wait() // how it ended is in its state
		s.buried(o)
	}()
	return nil
}

// buried notes that an operator has ended.
func (s *operators) buried(o *operator) {
	s.mu.Lock()
	s.running = slices.DeleteFunc(s.running, func(x *operator) bool { return x == o })
	byItself := !o.struck && !s.closing
	if byItself {
		s.gaveUp++
	}
	s.mu.Unlock()
	if !byItself {
		return
	}
	if err := s.start(); err != nil {
		s.note(err.Error())
	}
}

func (s *operators) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, what)
}

// strike sends a signal that ends an operator, sooner or later.
func (s *operators) strike(o *operator, sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.struck = true
	if err := o.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s to operator %d: %w", sig, o.number, err)
	}
	return nil
}

// read keeps the log, and hears who was elected.
func (s *operators) read(o *operator, out io.Reader, log io.WriteCloser) {
	defer log.Close() //nolint:errcheck // a log
	lines := bufio.NewReader(io.TeeReader(out, log))
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, acquired) {
			s.mu.Lock()
			s.elected = o
			s.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// leader is who was elected last, if it still runs; nil: nobody leads.
func (s *operators) leader() *operator {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.running, s.elected) {
		return nil
	}
	return s.elected
}

// number finds an operator by its address.
func (s *operators) number(host string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := s.started - 1; n >= 0; n-- {
		if hostOf(n) == host {
			return n
		}
	}
	return -1
}

// endTime is how long an operator may take to end that was told to, or leads no
// more.
const endTime = 30 * time.Second

// expect waits for the end of an operator, and notes if that is not the status
// that it should have. -1 is a signal's.
func (s *operators) expect(o *operator, status int) {
	select {
	case <-o.ended:
		if got := o.cmd.ProcessState.ExitCode(); got != status {
			s.note(fmt.Sprintf("operator %d ended with %s, want status %d\n%s", o.number, o.cmd.ProcessState, status, tail(o.log)))
		}
	case <-time.After(endTime):
		s.note(fmt.Sprintf("operator %d did not end within %s\n%s", o.number, endTime, tail(o.log)))
		_ = o.cmd.Process.Kill()
		<-o.ended
	}
}

// close ends those that run, in order, and returns what went wrong in all that
// time.
func (s *operators) close() (wrong []string) {
	s.mu.Lock()
	s.closing = true
	running := slices.Clone(s.running)
	s.mu.Unlock()
	for _, o := range running {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} { // it may be frozen
			if err := s.strike(o, sig); err != nil {
				s.note(err.Error())
			}
		}
	}
	for _, o := range running {
		s.expect(o, 0)
	}
	return s.wrong
}

// tail is the end of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const most = 3000
	return string(text[max(0, len(text)-most):])
}
