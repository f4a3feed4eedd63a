//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// Bounds of starting and stopping.
const (
	startTime = 20 * time.Second
	stopTime  = 15 * time.Second // from SIGTERM to SIGKILL: more than a server needs to kill its workers
	pollEvery = 2 * time.Millisecond
)

// process is a program under load.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdout string // path
	stderr string // path
	cancel context.CancelFunc
	exited chan struct{}
	err    error // once exited
}

// startProcess starts a program whose output goes to files in dir, so that
// nobody needs to read along while it is measured.
func startProcess(dir, name, program string, args ...string) (*process, error) {
	p := &process{
		name:   name,
		stdout: filepath.Join(dir, name+".out"),
		stderr: filepath.Join(dir, name+".log"),
		exited: make(chan struct{}),
	}
	stdout, err := os.Create(p.stdout)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = stdout.Close() }()
	stderr, err := os.Create(p.stderr)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = stderr.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.cmd = exec.CommandContext(ctx, program, args...)
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	p.cmd.SysProcAttr = proc.ChildAttr()
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopTime
	if err := p.cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.exited)
		defer cancel()
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// alive tells whether the program still runs.
func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// stop ends the program in order, or by force if it does not, and returns an
// error if it had not run until now, or did not end in order.
func (p *process) stop() error {
	wasAlive := p.alive()
	p.cancel()
	<-p.exited
	var exit *exec.ExitError
	switch {
	case !wasAlive:
		return fmt.Errorf("%s %s", p.name, p.state())
	case errors.As(p.err, &exit) && exit.ExitCode() < 0 && p.cmd.ProcessState.String() == "signal: killed":
		return fmt.Errorf("%s did not end within %s of SIGTERM", p.name, stopTime)
	default:
		return nil
	}
}

// state says whether the program runs, or how it ended.
func (p *process) state() string {
	switch {
	case p.alive():
		return fmt.Sprintf("runs as process %d", p.pid())
	case p.err == nil:
		return "has ended; its last words:" + p.lastWords()
	default:
		return fmt.Sprintf("has ended (%v); its last words:%s", p.err, p.lastWords())
	}
}

// await waits until one of the program's files has a line that matches, and
// returns the first group.
func (p *process) await(ctx context.Context, path string, pattern *regexp.Regexp) (string, error) {
	deadline := time.NewTimer(startTime)
	defer deadline.Stop()
	for {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%s: %w", p.name, err)
		}
		if m := pattern.FindSubmatch(text); m != nil {
			return string(m[1]), nil
		}
		select {
		case <-time.After(pollEvery):
		case <-p.exited:
			return "", fmt.Errorf("%s %s", p.name, p.state())
		case <-deadline.C:
			return "", fmt.Errorf("%s did not say %q within %s:%s", p.name, pattern, startTime, p.lastWords())
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// lastWords is the end of what the program logged, indented.
func (p *process) lastWords() string {
	const lines = 5
	text, err := os.ReadFile(p.stderr)
	if err != nil || len(text) == 0 {
		return " nothing"
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return "\n\t" + strings.Join(all[max(0, len(all)-lines):], "\n\t")
}

// waitUntil polls until a condition holds; it returns false after within.
func waitUntil(ctx context.Context, within time.Duration, condition func() bool) bool {
	deadline := time.Now().Add(within)
	for !condition() {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return false
		}
		time.Sleep(pollEvery)
	}
	return true
}
