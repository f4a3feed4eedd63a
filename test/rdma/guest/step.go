//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"rpcpool.dev/test/rdma/plan"
)

// runner runs steps.
type runner struct {
	report *console
	gid    string
	other  *neighbour // nil: there is one machine
}

// run runs one step. With another machine, each does so when its own part is ready.
func (r runner) run(step plan.Step) error {
	r.report.line(plan.Line{Kind: plan.Begin, Text: step.Name})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	limit := time.AfterFunc(time.Duration(step.Limit)+2*patience, cancel)
	defer limit.Stop()
	start := time.Now()

	server, err := r.start(ctx, plan.Server, step.Server)
	if err != nil {
		return err
	}
	defer func() { cancel(); _ = server.wait() }()
	if err := server.listens(); err != nil {
		return err
	}
	if err := r.other.shake(step.Name); err != nil {
		return err
	}
	limit.Reset(time.Duration(step.Limit))
	client, err := r.start(ctx, plan.Client, step.Client)
	if err != nil {
		return err
	}
	if err := client.wait(); err != nil {
		return err
	}
	if err := server.wait(); err != nil {
		return err
	}
	r.report.line(plan.Line{Kind: plan.End, Text: step.Name, Took: time.Since(start)})
	return nil
}

// process is one of a step; nil is one that nobody wants.
type process struct {
	who   plan.Kind
	port  int
	ended chan struct{}
	err   error // before ended is closed
}

// start starts a command in a process group of its own, which is killed when ctx ends.
func (r runner) start(ctx context.Context, who plan.Kind, c *plan.Command) (*process, error) {
	if c == nil {
		return nil, nil
	}
	args := make([]string, len(c.Args))
	for i, arg := range c.Args {
		args[i] = strings.ReplaceAll(arg, plan.GID, r.gid)
	}
	out := &lines{each: func(text string) { r.report.line(plan.Line{Kind: who, Text: text}) }}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // somebody else may have the pipe
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", who, err)
	}
	p := &process{who: who, port: c.Port, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
		out.end()
		if ctx.Err() != nil {
			p.err = errors.Join(errors.New("not done in time"), p.err)
		}
	}()
	return p, nil
}

// wait waits for the end.
func (p *process) wait() error {
	if p == nil {
		return nil
	}
	<-p.ended
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.who, p.err)
	}
	return nil
}

// listens waits until somebody listens on the port.
func (p *process) listens() error {
	if p == nil || p.port == 0 {
		return nil
	}
	err := within(fmt.Sprintf("nobody listens on port %d", p.port), func() bool {
		select {
		case <-p.ended:
			return true
		default:
			return listening(p.port)
		}
	})
	if err == nil && !listening(p.port) {
		err = errors.Join(p.wait(), errors.New("ended before it listened"))
	}
	return err
}

// listening tells whether somebody listens on a port of TCP, without a connection:
// a server may want one only.
func listening(port int) bool {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table)
		for line := range strings.Lines(string(text)) {
			const local, state, listen = 1, 3, "0A"
			words := strings.Fields(line)
			if len(words) > state && words[state] == listen && strings.HasSuffix(words[local], fmt.Sprintf(":%04X", port)) {
				return true
			}
		}
	}
	return false
}
