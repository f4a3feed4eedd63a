//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child, in its present life.
type process struct {
	name  string
	args  func() []string
	lives int

	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.Closer
	line  string // the last that it has printed
	total int    // that earlier lives have printed last
	gone  chan struct{}
}

// start begins a life. It returns when the first line has been printed.
func (p *process) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p.lives++
	cmd := exec.Command(self, p.args()...) //nolint:noctx // it ends with its standard input
	cmd.Env = append(os.Environ(), "CHAOS_RPC_CHILD=1", "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	gone, first := make(chan struct{}), make(chan bool, 1)
	p.mu.Lock()
	p.cmd, p.stdin, p.gone, p.line = cmd, stdin, gone, ""
	p.mu.Unlock()
	go func() {
		scanner := bufio.NewScanner(stdout)
		for n := 0; scanner.Scan(); n++ {
			p.mu.Lock()
			p.line = strings.TrimSpace(scanner.Text())
			p.mu.Unlock()
			if n == 0 {
				first <- true
			}
		}
		close(first)
		_ = cmd.Wait()
		close(gone)
	}()
	if !<-first {
		return fmt.Errorf("%s ended before it said anything", p.name)
	}
	return nil
}

// said returns the last line that it has printed.
func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.line
}

// count is what it and its earlier lives have printed last, as numbers.
func (p *process) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, _ := strconv.Atoi(p.line)
	return p.total + n
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// children are the processes that it has started.
func (p *process) children() (pids []int) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	for _, t := range threads {
		b, _ := os.ReadFile(t)
		for _, word := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// kill ends a life.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	p.gather()
}

// stop ends a life in order, or after that time not so.
func (p *process) stop(patience time.Duration) {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(patience):
		p.signal(syscall.SIGKILL)
	}
	p.gather()
}

// gather waits for the end of a life, and keeps what it has counted.
func (p *process) gather() {
	<-p.gone
	total := p.count()
	p.mu.Lock()
	p.total, p.line = total, ""
	p.mu.Unlock()
	_ = p.stdin.Close()
}

// finish ends a life in good order, and waits for that.
func (p *process) finish(patience time.Duration) error {
	_ = p.stdin.Close()
	select {
	case <-p.gone:
		return nil
	case <-time.After(patience):
		p.signal(syscall.SIGQUIT) // it prints where it hangs
		<-p.gone
		return fmt.Errorf("%s hangs", p.name)
	}
}
