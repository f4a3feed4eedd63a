//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// unit is a program that is kept running: when it ends it is started again, as
// a kubelet starts a container again.
type unit struct {
	name   string
	server int // -1: the tracker
	path   string
	args   []string
	fleet  *fleet

	mu      sync.Mutex
	pid     int  // 0: none runs
	doomed  bool // we did something to it that ends it
	leaving bool // the fleet ends: it is not started again
	starts  int
	words   []string // the last that it logged
}

// run keeps the unit running until the fleet stops it.
func (u *unit) run() {
	for !u.left() {
		if err := u.once(); err != nil {
			u.fleet.broke(violation{ruleAlive, fmt.Sprintf("%s: %v", u.name, err)})
			time.Sleep(time.Second)
		}
		time.Sleep(u.fleet.pause())
	}
}

// once starts the program and waits for its end, which is a violation if nobody
// here has brought it about.
func (u *unit) once() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	cmd := exec.CommandContext(context.Background(), u.path, u.args...)
	cmd.Stderr = w
	cmd.SysProcAttr = proc.ChildAttr()
	err = u.start(cmd)
	_ = w.Close()
	if err != nil {
		return errors.Join(err, r.Close())
	}
	heard := make(chan struct{})
	u.fleet.logs.Go(func() { defer close(heard); u.read(r) })
	_ = cmd.Wait() // how it ended is in its state
	select {       // its last words; children that it leaves may hold its log open
	case <-heard:
	case <-time.After(time.Second):
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pid = 0
	if u.doomed || u.leaving || u.waits() {
		return nil
	}
	return fmt.Errorf("ended by itself (%s), saying: %q", cmd.ProcessState, u.words)
}

// waits tells whether the program ended because its predecessor, whose guard was
// killed, is still on its way out.
func (u *unit) waits() bool {
	return len(u.words) > 0 && strings.Contains(u.words[len(u.words)-1], "in use by another")
}

// start starts the program, unless the fleet ends.
func (u *unit) start(cmd *exec.Cmd) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.leaving {
		return nil
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	u.pid, u.doomed, u.words = cmd.Process.Pid, false, nil
	u.starts++
	return nil
}

// read takes in the program's log. What it inherits, its agent does, too; so
// the end comes when the last of them has ended.
func (u *unit) read(r io.ReadCloser) {
	defer r.Close() //nolint:errcheck // read only
	copyTo := io.Discard
	if u.fleet.keep {
		f, err := os.OpenFile(filepath.Join(u.fleet.dir, u.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			defer f.Close() //nolint:errcheck // a log
			copyTo = f
		}
	}
	lines := bufio.NewReaderSize(io.TeeReader(r, copyTo), 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			u.line(line)
		}
		if err != nil {
			return
		}
	}
}

// line takes in one line of the log.
func (u *unit) line(line []byte) {
	l, ok := parseLine(line, u.server)
	if ok && l.record != nil {
		u.fleet.record(*l.record)
		return
	}
	const last = 6
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.words = append(u.words, string(line[:min(len(line), 300)])); len(u.words) > last {
		u.words = u.words[1:]
	}
	u.fleet.note(l)
}

// strike does something to the program that ends it.
func (u *unit) strike(sig syscall.Signal) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pid == 0 {
		return false
	}
	u.doomed = true
	return syscall.Kill(u.pid, sig) == nil
}

// doom says that something was done that may end it.
func (u *unit) doom() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.doomed = true
}

// running is its process id; 0 if none runs.
func (u *unit) running() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.pid
}

func (u *unit) left() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.leaving
}

// leave has the program end in order, and not be started again.
func (u *unit) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.leaving = true
	if u.pid > 0 {
		_ = syscall.Kill(u.pid, syscall.SIGTERM)
	}
}
