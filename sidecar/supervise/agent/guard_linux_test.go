package agent

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// guarded is a guard, the process itself, with its agent, which has a spare and
// a worker in a session.
type guarded struct {
	*agentProcess
	*fixture
	agent   int   // pid
	workers []int // with their descendants
	log     string
}

// startGuarded starts an agent below a guard. Of its worker's descendants,
// which stand in dir, nothing tells whose they are.
func startGuarded(t *testing.T, dir string, o processOptions) *guarded {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	o.stderr, o.extra = log, []string{"guarded"}
	a := startAgentProcess(t, o)
	g := &guarded{
		agentProcess: a, log: log.Name(),
		fixture: &fixture{t: t, exe: executablePath(t), sidecar: connect(t, a.socket)},
	}
	g.agent = g.hello.PID
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of guard and agent:\n%s", g.readLog())
		}
	})
	g.warm("spare", g.behaviour("warm", "echo"))
	g.workers = append(g.workers, g.await(supervise.EventStarted, "spare").PID)
	g.await(supervise.EventReady, "spare")
	client := g.cold("busy", g.behaviour("hidden", "3", dir), 0)
	g.workers = append(g.workers, g.await(supervise.EventStarted, "busy").PID)
	g.workers = append(g.workers, readPIDs(t, client)...)
	return g
}

func (g *guarded) readLog() string {
	b, _ := os.ReadFile(g.log)
	return string(b)
}

func (g *guarded) signalGuard(s syscall.Signal) {
	g.t.Helper()
	if err := g.Process.Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guarded) signalAgent(s syscall.Signal) {
	g.t.Helper()
	if err := unix.Kill(g.agent, s); err != nil {
		g.t.Fatal(err)
	}
}

// ended waits for the guard and checks its status, and that not even a zombie is
// left of what was below it.
func (g *guarded) ended(status int) {
	g.t.Helper()
	err := g.Wait()
	if got := g.ProcessState.ExitCode(); got != status {
		g.t.Errorf("the guard ended with %v, want status %d", err, status)
	}
	for _, pid := range append(g.workers, g.agent) {
		if !gone(pid) {
			g.t.Errorf("%d is there", pid)
		}
	}
}

const killedStatus = 128 + int(syscall.SIGKILL)

func TestGuardIsToldFromItsAgent(t *testing.T) {
	g := startGuarded(t, "/", processOptions{})
	guard := g.Process.Pid
	if g.agent == guard {
		t.Fatal("the agent that says hello has no guard")
	}
	seen, err := newProcfs().stat(g.agent)
	if err != nil {
		t.Fatal(err)
	}
	if seen.parent != guard || seen.group != g.agent {
		t.Errorf("agent %d is in group %d below %d; want its own, below %d", g.agent, seen.group, seen.parent, guard)
	}
	for pid, want := range map[int][2]string{
		guard:   {guardName, guardName[:15]},
		g.agent: {g.exe, filepath.Base(g.exe)[:min(15, len(filepath.Base(g.exe)))]},
	} {
		line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		argv0, _, _ := strings.Cut(string(line), "\x00")
		comm, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		if argv0 != want[0] || strings.TrimSpace(string(comm)) != want[1] {
			t.Errorf("%d is %q, %q; want %q", pid, argv0, comm, want)
		}
	}
	client := g.cold("env", g.behaviour("env", envGuarded), 0)
	if got := readAll(t, client); got != envGuarded+"=\n" {
		t.Errorf("a worker is told %q", got)
	}
	g.signalGuard(syscall.SIGTERM)
	g.ended(0)
}

func TestNothingOutlivesAKilledAgentsGuard(t *testing.T) {
	g := startGuarded(t, "/", processOptions{})
	g.signalAgent(syscall.SIGKILL)
	g.ended(killedStatus)
	if log := g.readLog(); !strings.Contains(log, "processes that the agent left are killed") {
		t.Errorf("log:\n%s", log)
	}
	next := startAgentProcess(t, processOptions{of: g.agentProcess, extra: []string{"guarded"}})
	connect(t, next.socket)
	next.stop(t)
}

func TestGuardEndsItsAgentInOrder(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(s.String(), func(t *testing.T) {
			g := startGuarded(t, "/", processOptions{})
			began := time.Now()
			g.signalGuard(s)
			g.ended(0)
			t.Logf("ended after %v", time.Since(began))
			g.exit("busy", supervise.CauseKilledDrain)
			g.agentProcess.checkClean(t)
		})
	}
}

// A program under test can stop the agent, but not for longer than somebody
// wants it to end.
func TestGuardEndsAStoppedAgent(t *testing.T) {
	for name, c := range map[string]struct {
		order  syscall.Signal
		status int
	}{
		"in order": {syscall.SIGTERM, 0},
		"at once":  {syscall.SIGQUIT, killedStatus},
	} {
		t.Run(name, func(t *testing.T) {
			g := startGuarded(t, "/", processOptions{})
			g.signalAgent(syscall.SIGSTOP)
			eventually(t, "the agent is stopped", func() bool {
				p, err := newProcfs().stat(g.agent)
				return err == nil && p.state == 'T'
			})
			g.signalGuard(c.order)
			g.ended(c.status)
		})
	}
}

func TestAgentEndsInOrderWithItsGuard(t *testing.T) {
	for name, stopped := range map[string]bool{"running": false, "stopped": true} {
		t.Run(name, func(t *testing.T) {
			g := startGuarded(t, "/", processOptions{})
			if stopped {
				g.signalAgent(syscall.SIGSTOP)
			}
			g.signalGuard(syscall.SIGKILL)
			_ = g.Wait()
			g.exit("busy", supervise.CauseKilledDrain)
			eventually(t, "the agent is gone", func() bool { return reapOrphan(g.agent) })
			for _, pid := range g.workers {
				if !gone(pid) {
					t.Errorf("%d is there", pid)
				}
			}
			g.agentProcess.checkClean(t)
		})
	}
}

// Who kills both leaves what only the next agent finds: by its environment, its
// control group or its current directory.
func TestNextAgentFindsWhatNoGuardKilled(t *testing.T) {
	g := startGuarded(t, ".", processOptions{})
	g.signalGuard(syscall.SIGSTOP)
	g.signalAgent(syscall.SIGKILL)
	g.signalGuard(syscall.SIGKILL)
	_ = g.Wait()
	eventually(t, "the agent's and the workers' ends come to this process", func() bool {
		reapOrphan(g.agent)
		reapOrphan(g.workers[0])
		reapOrphan(g.workers[1])
		return gone(g.agent) && gone(g.workers[0]) && gone(g.workers[1])
	})
	for _, pid := range g.workers[2:] {
		if !alive(pid) {
			t.Errorf("%d did not outlive its guard: this tests nothing", pid)
		}
	}
	next := startAgentProcess(t, processOptions{of: g.agentProcess, extra: []string{"guarded"}})
	connect(t, next.socket)
	for _, pid := range g.workers {
		if alive(pid) {
			t.Errorf("%d is there", pid)
		}
		reapOrphan(pid)
	}
	next.stop(t)
}

func TestGuardEndsWithItsParent(t *testing.T) {
	t.Run("standard input ends", func(t *testing.T) {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		g := startGuarded(t, "/", processOptions{stdin: read})
		_ = read.Close()
		_ = write.Close()
		g.ended(0)
		g.agentProcess.checkClean(t)
	})
	t.Run("parent is killed", func(t *testing.T) {
		g := startGuarded(t, "/", processOptions{wrap: []string{"/bin/sh", "-c", `"$@" & wait`, "sh"}})
		seen, err := newProcfs().stat(g.agent)
		if err != nil {
			t.Fatal(err)
		}
		g.signalGuard(syscall.SIGKILL) // the shell
		_ = g.Wait()
		g.exit("busy", supervise.CauseKilledDrain)
		eventually(t, "the guard is gone", func() bool { return reapOrphan(seen.parent) })
		for _, pid := range append(g.workers, g.agent) {
			if !gone(pid) {
				t.Errorf("%d is there", pid)
			}
		}
		g.agentProcess.checkClean(t)
	})
}

func TestGuardWinsAgainstAForkStorm(t *testing.T) {
	for _, hop := range []string{"exec", "fast", "fast-setsid"} {
		t.Run(hop, func(t *testing.T) {
			g := startGuarded(t, "/", processOptions{})
			zombies := len(zombieChildren(t))
			client := g.cold("bomb", g.behaviour("fork-bomb", "3", hop), 0)
			expect(t, client, "up")
			began := time.Now()
			g.signalAgent(syscall.SIGKILL)
			g.ended(killedStatus)
			t.Logf("gone after %v", time.Since(began))
			if left := workerProcesses(t, g.workRoot); len(left) > 0 {
				t.Errorf("processes of workers left: %v", left)
			}
			if left := zombieChildren(t); len(left) > zombies {
				t.Errorf("zombies left: %v", left)
			}
		})
	}
}

func TestGuardPassesItsAgentsStatusOn(t *testing.T) {
	first := startAgentProcess(t, processOptions{})
	connect(t, first.socket)
	second := startAgentProcess(t, processOptions{of: first, extra: []string{"guarded"}})
	if err := second.Wait(); second.ProcessState.ExitCode() != 1 {
		t.Errorf("an agent whose work root is in use ended with %v, want status 1", err)
	}
	first.stop(t)
}

// What was below the process before it became a guard is not the agent's.
func TestGuardSparesWhatItFindsBelowItself(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	g := startGuarded(t, "/", processOptions{
		wrap: []string{"/bin/sh", "-c", `sleep 1000 & echo $! >"$0"; exec "$@"`, file},
	})
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = unix.Kill(stranger, unix.SIGKILL)
		eventually(t, "the stranger is reaped", func() bool { return reapOrphan(stranger) || gone(stranger) })
	}()
	g.signalAgent(syscall.SIGKILL)
	g.ended(killedStatus)
	if !alive(stranger) {
		t.Error("it is dead")
	}
}

func TestGuardGivesUpWhatItCannotKill(t *testing.T) {
	g := startGuarded(t, "/", processOptions{plan: &guardPlan{Reap: 300 * time.Millisecond, Stop: time.Minute}})
	// A process whose tracer does not look cannot be reaped by its parent.
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	traced := g.workers[len(g.workers)-1]
	if _, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(traced), 0, 0, 0, 0); e != 0 {
		t.Skipf("no process can be traced here: %v", e)
	}
	g.signalAgent(syscall.SIGKILL)
	err := g.Wait()
	if got := g.ProcessState.ExitCode(); got != 1 {
		t.Errorf("the guard ended with %v, want status 1", err)
	}
	if log := g.readLog(); !strings.Contains(log, "outlive SIGKILL") || !strings.Contains(log, strconv.Itoa(traced)+" (sleep)") {
		t.Errorf("log:\n%s", log)
	}
	eventually(t, "the traced process is reaped", func() bool { return reapOrphan(traced) || gone(traced) })
	eventually(t, "it is gone", func() bool { reapOrphan(traced); return gone(traced) })
	for _, pid := range g.workers {
		if !gone(pid) {
			t.Errorf("%d is there", pid)
		}
	}
}

// Nobody else would lose patience with an agent whose parent is gone.
func TestGuardKillsAnAgentThatOutlivesItsParent(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	plan := &guardPlan{Reap: patience, Stop: 200 * time.Millisecond}
	g := startGuarded(t, "/", processOptions{stdin: read, plan: plan})
	start := g.behaviour("ignore-term")
	start.KillGrace = time.Hour
	expect(t, g.cold("deaf", start, 0), "up")
	_ = read.Close()
	_ = write.Close()
	g.ended(killedStatus)
}
