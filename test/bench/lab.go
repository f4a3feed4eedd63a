//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// lab is where one scenario runs: it starts programs, and when the scenario is
// over it stops them and looks for what they left behind.
type lab struct {
	scenario string
	bin      string // directory of the programs
	dir      string // for their files; ours
	report   *report
	progress io.Writer
	started  []*process
	number   int // of programs ever started
}

// add files a row of the scenario.
func (l *lab) add(r *row) { l.report.add(l.scenario, r) }

// say prints progress.
func (l *lab) say(format string, a ...any) {
	fmt.Fprintf(l.progress, "%s: %s\n", l.scenario, fmt.Sprintf(format, a...))
}

func (l *lab) start(name, program string, args ...string) (*process, error) {
	p, err := startProcess(l.dir, fmt.Sprintf("%s-%d-%s", l.scenario, l.number, name), program, args...)
	if err != nil {
		return nil, err
	}
	l.number++
	l.started = append(l.started, p)
	return p, nil
}

// stop stops one program before the scenario is over.
func (l *lab) stop(p *process) error {
	l.started = slices.DeleteFunc(l.started, func(q *process) bool { return p == q })
	return p.stop()
}

// kill ends a program as a crash would.
func (l *lab) kill(p *process) error {
	l.started = slices.DeleteFunc(l.started, func(q *process) bool { return p == q })
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.exited
	return nil
}

// close stops everything, last started first. A program that had died, or that
// left processes behind, is an error.
func (l *lab) close() error {
	var errs []error
	for _, p := range slices.Backward(l.started) {
		errs = append(errs, p.stop())
	}
	l.started = nil
	left, err := killOrphans()
	if len(left) > 0 {
		errs = append(errs, fmt.Errorf("left behind: %v", left))
	}
	return errors.Join(append(errs, err)...)
}

// killOrphans kills what lost its parent and became our child, and lists it.
func killOrphans() ([]string, error) {
	children, err := proc.Descendants(os.Getpid())
	if err != nil {
		return nil, err
	}
	var left []string
	for _, c := range children {
		left = append(left, fmt.Sprintf("%d (%s, %c)", c.PID, c.Name, c.State))
		_ = syscall.Kill(c.PID, syscall.SIGKILL)
		waitUntil(context.Background(), time.Second, func() bool {
			proc.Reap(c.PID)
			return syscall.Kill(c.PID, 0) != nil
		})
	}
	return left, nil
}

// service is a program that listens.
type service struct {
	*process
	addr    string // of its protocol
	metrics string // of its metrics
}

// anyPort lets a program choose its port.
const anyPort = "127.0.0.1:0"

// metricsLine is how every program logs where its metrics are.
var metricsLine = regexp.MustCompile(`msg="serving metrics"[^\n]* addr=(\S+:\d+)`)

// serviceLine is how a program says on its standard output where it listens.
var serviceLine = regexp.MustCompile(`(?m)\bon (\S+:\d+)$`)

func (l *lab) startService(ctx context.Context, name, program string, args ...string) (*service, error) {
	p, err := l.start(name, program, args...)
	if err != nil {
		return nil, err
	}
	s := &service{process: p}
	s.addr, err = p.await(ctx, p.stdout, serviceLine)
	return s, err
}

// tracker starts a tracker on any free port.
func (l *lab) tracker(ctx context.Context) (*service, error) { return l.trackerAt(ctx, anyPort) }

func (l *lab) trackerAt(ctx context.Context, addr string) (*service, error) {
	s, err := l.startService(ctx, "tracker", filepath.Join(l.bin, proc.CLI),
		"tracker", "--listen", addr, "--metrics", anyPort)
	if err != nil {
		return nil, err
	}
	s.metrics, err = s.await(ctx, s.stderr, metricsLine)
	return s, err
}

// server is `rpcpool serve`, its agent and its workers.
type server struct {
	service
	key  string
	data string // its data directory
}

// serve starts a server with the test worker; flags may be added.
func (l *lab) serve(ctx context.Context, key, tracker string, flags ...string) (*server, error) {
	data := filepath.Join(l.dir, fmt.Sprintf("%s-%d-data", l.scenario, l.number))
	args := append([]string{
		"serve", "--key", key, "--listen", anyPort, "--metrics", anyPort, "--data-dir", data,
	}, flags...)
	if tracker != "" {
		args = append(args, "--tracker", tracker)
	}
	args = append(args, "--", filepath.Join(l.bin, proc.Worker), "--test-functions")
	s, err := l.startService(ctx, "serve", filepath.Join(l.bin, proc.CLI), args...)
	if err != nil {
		return nil, err
	}
	s.metrics, err = s.await(ctx, s.stderr, metricsLine)
	return &server{service: *s, key: key, data: data}, err
}

// serveCalls starts a server of native calls, and of gRPC, with the built-in worker; flags
// may be added.
func (l *lab) serveCalls(ctx context.Context, flags ...string) (*service, error) {
	cli := filepath.Join(l.bin, proc.CLI)
	args := append([]string{"serve", "--protocol", "rpc", "--listen", anyPort, "--metrics", anyPort}, flags...)
	s, err := l.startService(ctx, "calls", cli, append(args, "--", cli, "worker", "--calls")...)
	if err != nil {
		return nil, err
	}
	s.metrics, err = s.await(ctx, s.stderr, metricsLine)
	return s, err
}

// pair is a server as in a device's pod: the sidecar and the agent as programs
// that do not depend on each other.
type pair struct {
	sidecar *service
	agent   *process
	socket  string
}

// startAgent starts the agent of a pair.
func (l *lab) startAgent() (*pair, error) {
	p := &pair{socket: filepath.Join(l.dir, l.scenario+".sock")}
	var err error
	p.agent, err = l.start("agent", filepath.Join(l.bin, proc.Agent),
		"--socket", p.socket, "--work-root", filepath.Join(l.dir, l.scenario+"-work"))
	return p, err
}

// startSidecar starts the sidecar of a pair, and returns when its port is open.
func (l *lab) startSidecar(ctx context.Context, p *pair, key, tracker string) (err error) {
	p.sidecar, err = l.startService(ctx, "sidecar", filepath.Join(l.bin, proc.Sidecar),
		"--key", key, "--listen", anyPort, "--metrics", anyPort, "--tracker", tracker,
		"--agent-socket", p.socket, "--", filepath.Join(l.bin, proc.Worker), "--test-functions")
	return err
}

// agentPid returns the process id of the server's agent. The server's child is
// the agent's guard, which has another name.
func (s *server) agentPid() (int, error) {
	below, err := proc.Descendants(s.pid())
	if err != nil {
		return 0, err
	}
	for _, d := range below {
		if d.Name == proc.Agent && d.State != 'Z' {
			return d.PID, nil
		}
	}
	return 0, fmt.Errorf("%s has no agent", s.name)
}
