package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// guardGC keeps small, in percent, what the guard has next to nothing of.
const guardGC = 25

// guard is the process above the agent; see [Guarded]. It knows nothing of what
// the agent does.
type guard struct {
	plan guardPlan
	log  *slog.Logger
	proc *procfs
	// strangers are children that it had before the agent: of a shell, say,
	// that became the agent. They are none of its business.
	strangers map[int]bool
	childEnds chan os.Signal

	agent  int // pid
	ended  bool
	status unix.WaitStatus
}

// runGuard is the guard's main function.
func runGuard(plan string, argv []string) (status int) {
	const failed, signalled = 1, 128
	setProcessName(guardName)
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(guardGC)
	g := &guard{proc: newProcfs(), childEnds: make(chan os.Signal, 1), strangers: map[int]bool{}}
	if err := g.run(plan, argv); err != nil {
		fmt.Fprintf(os.Stderr, "rpcpool-agent: %v\n", err)
		return failed
	}
	if !g.clear() {
		return failed
	}
	if g.status.Signaled() {
		return signalled + int(g.status.Signal())
	}
	return g.status.ExitStatus()
}

// run runs the agent to its end.
func (g *guard) run(plan string, argv []string) error {
	if err := json.Unmarshal([]byte(plan), &g.plan); err != nil {
		return fmt.Errorf("decode the guard's plan: %w", err)
	}
	g.log = g.plan.Log.Logger(os.Stderr)
	orders := make(chan os.Signal, 8)
	signal.Notify(orders, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP, syscall.SIGQUIT)
	signal.Notify(g.childEnds, syscall.SIGCHLD)
	// Who reads the log may die first; see Run.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	watched, stop, err := WithParent(context.Background(), os.Stdin)
	if err != nil {
		return fmt.Errorf("--die-with-parent: %w", err)
	}
	defer stop()
	before, err := g.proc.everything().ownChildren()
	if err != nil {
		return err
	}
	for pid := range before {
		g.strangers[pid] = true
	}
	lifeline, err := g.start(argv)
	if err != nil {
		return err
	}
	defer lifeline.Close() //nolint:errcheck // nothing was written
	g.watch(watched.Done(), orders)
	return nil
}

// start starts the agent, in a process group of its own: what is meant for the
// guard's group is for the guard, which outlives it or tells it. The agent's
// standard input ends with the guard, which holds its other end; an agent that
// a program under test has stopped goes on then, so that it notices.
func (g *guard) start(argv []string) (lifeline *os.File, err error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the agent's standard input: %w", err)
	}
	defer theirs.Close()                                                       //nolint:errcheck // the agent has it
	g.agent, err = syscall.ForkExec("/proc/self/exe", argv, &syscall.ProcAttr{ //nolint:gosec // our own program and arguments
		Env:   append(os.Environ(), envGuarded+"=1"),
		Files: []uintptr{theirs.Fd(), uintptr(syscall.Stdout), uintptr(syscall.Stderr)},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGCONT},
	})
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start the agent below its guard: %w", err)
	}
	return ours, nil
}

// watch returns when the agent has ended, and passes on until then what it is
// told.
func (g *guard) watch(parent <-chan struct{}, orders <-chan os.Signal) {
	var late <-chan time.Time
	for !g.ended {
		select {
		case <-parent:
			parent, late = nil, time.After(g.plan.Stop)
			g.stop()
		case <-late:
			g.log.Error("agent outlives its parent and is killed", "after", g.plan.Stop)
			g.signal(unix.SIGKILL)
		case order := <-orders:
			if order == syscall.SIGQUIT {
				g.signal(unix.SIGKILL)
			} else {
				g.stop()
			}
		case <-g.childEnds:
			g.reap()
		}
	}
}

// stop has the agent end in order, even if a program under test has stopped it.
func (g *guard) stop() {
	g.signal(unix.SIGTERM)
	g.signal(unix.SIGCONT)
}

// signal signals the agent, which is not reaped yet: the pid is its own.
func (g *guard) signal(s unix.Signal) { _ = unix.Kill(g.agent, s) }

// reap takes the ends of the children that have ended. It tells how many, and
// whether there is none left.
func (g *guard) reap() (reaped int, none bool) {
	for ; ; reaped++ {
		var status unix.WaitStatus
		pid, err := wait4(-1, &status, nil)
		switch {
		case err != nil:
			return reaped, true
		case pid == 0:
			return reaped, false
		case pid == g.agent && !g.ended:
			g.ended, g.status = true, status
		}
		delete(g.strangers, pid)
	}
}
