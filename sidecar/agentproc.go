package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"rpcpool.dev/internal/sleep"
)

// AgentProgram is the file name of the agent.
const AgentProgram = "rpcpool-agent"

// Bounds of an agent that is our child.
const (
	agentRestartMin = 100 * time.Millisecond // between the end of one and the start of the next
	agentRestartMax = 5 * time.Second
	agentUp         = 2 * time.Second  // one that lives so long has come up
	agentTries      = 5                // of an agent that has never come up
	agentStopTime   = 15 * time.Second // for killing all trees after SIGTERM
	agentKillTime   = 12 * time.Second // for the same after SIGQUIT: its guard gives up after 10 s
	maxSocketPath   = 107              // bytes, of a Unix socket
)

var (
	errAgentHung  = errors.New("the agent did not answer and was killed")
	errAgentEnded = errors.New("exit status 0 although nobody stopped it")
)

// AgentOptions says how to run the agent as a child process, where no kubelet
// does.
type AgentOptions struct {
	// Path is the agent's program.
	Path string
	// Dir is a directory of its own, for its socket and the workers' work
	// directories. It must be private: who can connect can run programs.
	Dir string
	// Args are further flags.
	Args []string
	// Logger (slog.Default) is told when the agent has to be started again.
	Logger *slog.Logger

	// Hung has a value when the agent is to be killed; nil: never.
	Hung <-chan struct{}
}

// Socket is the path of the agent's socket.
func (o AgentOptions) Socket() string { return filepath.Join(o.Dir, "agent.sock") }

// CheckDir tells whether the agent's socket can be in Dir: the path of a Unix
// socket is short.
func (o AgentOptions) CheckDir() error {
	if n := len(o.Socket()); n > maxSocketPath {
		return fmt.Errorf("%s: %d bytes are too long a path for a Unix socket (at most %d)", o.Socket(), n, maxSocketPath)
	}
	return nil
}

// RunAgent runs the agent, and again, with growing pauses, whenever it ends,
// until ctx ends; then it has it kill its workers, and returns when it is gone.
// It gives up on an agent that cannot be started or never comes up. The agent
// also ends, with all of its workers, when this process dies in whatever way:
// its standard input is a pipe that only we hold.
//
// The child is the agent's guard, which ends when nothing of the agent is left
// (package agent, Guarded), so that no agent is started beside the remains of
// another. An agent that hangs is killed through its guard.
func RunAgent(ctx context.Context, o AgentOptions) error {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := o.CheckDir(); err != nil {
		return err
	}
	wait, failures, up := agentRestartMin, 0, false
	for {
		began := time.Now()
		err := runAgentOnce(ctx, o)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) >= agentUp {
			wait, failures, up = agentRestartMin, 0, true
		}
		if failures++; !mayRecover(err) || !up && failures >= agentTries {
			return err
		}
		o.Logger.Error("agent ended; starting it again", "error", err, "in", wait)
		sleep.For(wait, ctx.Done())
		wait = min(2*wait, agentRestartMax)
	}
}

// mayRecover tells whether another try may end better: not if the program
// could not even be started.
func mayRecover(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) || errors.Is(err, errAgentHung) || errors.Is(err, errAgentEnded)
}

func runAgentOnce(ctx context.Context, o AgentOptions) error {
	select {
	case <-o.Hung: // it was about the one before
	default:
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		select {
		case <-o.Hung:
			end(errAgentHung)
		case <-ctx.Done():
		}
	}()
	args := append([]string{
		"--socket", o.Socket(), "--work-root", filepath.Join(o.Dir, "work"), "--die-with-parent",
	}, o.Args...)
	cmd := exec.CommandContext(ctx, o.Path, args...)
	cmd.WaitDelay = agentStopTime + agentKillTime
	cmd.Cancel = func() error {
		if errors.Is(context.Cause(ctx), errAgentHung) {
			return quit(cmd.Process)
		}
		// One that has ended by then gets no signal.
		time.AfterFunc(agentStopTime, func() { _ = quit(cmd.Process) })
		return cmd.Process.Signal(syscall.SIGTERM)
	}
	// A pipe, which guard and agent hold, and nobody else: if the guard alone
	// is killed, the agent is waited for all the same.
	cmd.Stdout, cmd.Stderr = struct{ io.Writer }{os.Stderr}, os.Stderr
	// A group of its own: Ctrl-C at a terminal is for us, who stop it in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	defer func(c io.Closer) { _ = c.Close() }(lifeline)
	switch err := cmd.Run(); {
	case errors.Is(context.Cause(ctx), errAgentHung):
		return errAgentHung
	case err != nil:
		return fmt.Errorf("agent %s: %w", o.Path, err)
	default:
		return fmt.Errorf("agent %s: %w", o.Path, errAgentEnded)
	}
}

// quit has the guard kill the agent, which kills its workers. Whoever stopped
// the agent may have stopped the guard.
func quit(guard *os.Process) error {
	return errors.Join(guard.Signal(syscall.SIGQUIT), guard.Signal(syscall.SIGCONT))
}

// FindProgram returns the path of a program that is shipped beside the running
// one, or else found in PATH.
func FindProgram(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside this program nor in PATH", name)
	}
	return path, nil
}

// RunWithAgent runs s and, as a child process, the agent that it needs. The
// agent is stopped, with all workers, when the server has ended; a server whose
// agent cannot be run is stopped with that error.
func RunWithAgent(ctx context.Context, s *Server, o AgentOptions) error {
	o.Hung = s.core.hung
	return RunBesideAgent(ctx, s.Run, o)
}

// RunBesideAgent is RunWithAgent for another kind of server, which run runs.
func RunBesideAgent(ctx context.Context, run func(context.Context) error, o AgentOptions) error {
	serverCtx, stopServer := context.WithCancel(ctx)
	defer stopServer()
	agentCtx, stopAgent := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAgent()
	agent := make(chan error, 1)
	go func() {
		agent <- RunAgent(agentCtx, o)
		stopServer()
	}()
	err := run(serverCtx)
	stopAgent()
	return errors.Join(err, <-agent)
}
