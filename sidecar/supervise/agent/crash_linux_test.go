package agent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// The sidecar may go and come back: sessions and spares stay, deadlines are
// kept, and what ended meanwhile is told.
func TestSidecarMayRestart(t *testing.T) {
	f := runAgent(t)
	f.warm("spare", f.behaviour("warm", "echo"))
	f.await(supervise.EventReady, "spare")
	client := f.cold("busy", f.behaviour("echo"), 0)
	f.await(supervise.EventStarted, "busy")
	brief := f.cold("brief", f.behaviour("echo"), 0)
	f.await(supervise.EventStarted, "brief")
	f.cold("deadline", f.behaviour("ignore-term"), 300*time.Millisecond)

	f.close()
	_ = brief.Close() // its end is nobody's but the agent's for now
	eventually(t, "two workers ended without a sidecar", func() bool {
		return strings.Count(f.log.String(), "worker ended") == 2
	})

	second := connect(t, f.options.Socket)
	workers := second.hello.Workers
	if len(workers) != 2 || workers[0].ID != "busy" || workers[0].State != supervise.StateBusy || workers[0].Session == nil ||
		workers[0].Session.ID != "id-busy" || workers[1].ID != "spare" || workers[1].State != supervise.StateSpare || workers[1].Session != nil {
		t.Fatalf("hello %+v", workers)
	}
	second.exit("brief", supervise.CauseCompleted)
	second.exit("deadline", supervise.CauseTimeout)
	if _, err := client.Write([]byte("hi")); err != nil {
		t.Fatal(err)
	}
	expect(t, client, "hi")
	_ = client.Close()
	second.exit("busy", supervise.CauseCompleted)
	if _, err := second.give("spare", 0).Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	f.sidecar = second
}

// A newer connection replaces the older.
func TestNewerSidecarReplacesTheOlder(t *testing.T) {
	f := runAgent(t)
	f.warm("w1", f.behaviour("warm", "echo"))
	f.await(supervise.EventReady, "w1")
	second := connect(t, f.options.Socket)
	<-f.done // the older is told by the end of its connection
	if len(second.hello.Workers) != 1 {
		t.Errorf("hello %+v", second.hello)
	}
	second.kill("w1", supervise.CauseKilledDrain, 0)
	second.exit("w1", supervise.CauseKilledDrain)
	f.sidecar = second
}

// A sidecar that reads nothing holds up nobody.
func TestSlowSidecarDoesNotBlockSupervision(t *testing.T) {
	f := runAgent(t)
	f.close()
	deaf := supervise.NewConn(dial(t, f.options.Socket))
	defer deaf.Close()
	const workers = 40 // 64 KiB of output each: more than a socket holds
	for i := range workers {
		err := deaf.Send(supervise.Command{
			Op: supervise.OpStart, Worker: fmt.Sprint("w", i),
			Start: testStart("/bin/sh", "-c", "head -c 100000 /dev/zero"),
		}, -1)
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all workers ended, although nobody wants to know", func() bool {
		return strings.Count(f.log.String(), "worker ended") == workers
	})
	second := connect(t, f.options.Socket) // and gets what the deaf one did not
	second.exit("w39", supervise.CauseStartFailed)
	second.cold("after", testStart("true"), 0)
	second.exit("after", supervise.CauseCompleted)
	f.sidecar = second
}

func TestAgentStopsInOrder(t *testing.T) {
	f := runAgent(t)
	f.warm("spare", f.behaviour("warm", "echo"))
	f.await(supervise.EventReady, "spare")
	expect(t, f.cold("polite", f.behaviour("on-term", "0"), 0), "up")
	pids := readPIDs(t, f.cold("tree", f.behaviour("grandchildren", "3", "wait"), 0))
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	for _, worker := range []string{"spare", "polite", "tree"} {
		f.exit(worker, supervise.CauseKilledDrain)
	}
	for _, pid := range pids {
		if !gone(pid) {
			t.Errorf("%d is there", pid)
		}
	}
	f.checkClean()
	if _, err := os.Stat(f.options.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is there: %v", err)
	}
}

// busyAgent is an agent process with a worker in a session and a spare.
func busyAgent(t *testing.T, o processOptions) (a *agentProcess, pids []int) {
	t.Helper()
	a = startAgentProcess(t, o)
	f := &fixture{t: t, exe: executablePath(t), sidecar: connect(t, a.socket)}
	f.warm("spare", f.behaviour("warm", "echo"))
	pids = append(pids, f.await(supervise.EventStarted, "spare").PID)
	f.await(supervise.EventReady, "spare")
	client := f.cold("busy", f.behaviour("grandchildren", "2", "wait"), 0)
	pids = append(pids, f.await(supervise.EventStarted, "busy").PID)
	return a, append(pids, readPIDs(t, client)...)
}

func TestRow088_WorkersDieWithTheAgent(t *testing.T) {
	a, pids := busyAgent(t, processOptions{})
	if err := a.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = a.Wait()
	eventually(t, "both workers are dead", func() bool { return !alive(pids[0]) && !alive(pids[1]) })

	// What no parent-death signal reaches, the next agent removes.
	next := startAgentProcess(t, processOptions{of: a})
	s := connect(t, next.socket)
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("%d outlives its agent and the next one's start", pid)
		}
	}
	if left := dirNames(a.workRoot); len(left) > 0 {
		t.Errorf("left in the work root: %v", left)
	}
	if len(s.hello.Workers) != 0 {
		t.Errorf("hello %+v", s.hello)
	}
	next.stop(t)
	for _, pid := range pids {
		reapOrphan(pid) // this process may be their subreaper by now
	}
}

func TestDeathPipeEndsTheAgent(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	// The parent reads the agent's log, too, until it dies.
	logRead, logWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	a, pids := busyAgent(t, processOptions{stdin: read, stderr: logWrite, extra: []string{"die-with-parent"}})
	_ = logRead.Close()
	_ = logWrite.Close()
	_ = read.Close()
	_ = write.Close()
	if err := a.Wait(); err != nil {
		t.Errorf("agent ended with %v", err)
	}
	if slices.ContainsFunc(pids, alive) {
		t.Error("workers outlive the agent")
	}
	a.checkClean(t)
}

func TestAgentEndsWithItsParent(t *testing.T) {
	// The shell is the agent's parent; standard input is no pipe.
	a := startAgentProcess(t, processOptions{
		wrap:  []string{"/bin/sh", "-c", `"$@" & wait`, "sh"},
		extra: []string{"die-with-parent"},
	})
	s := connect(t, a.socket)
	s.cold("w1", testStart("sleep", "1000"), 0)
	worker := s.await(supervise.EventStarted, "w1").PID
	agent := s.hello.PID
	if err := a.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = a.Wait()
	s.exit("w1", supervise.CauseKilledDrain)
	eventually(t, "the agent is dead", func() bool { return !alive(agent) })
	reapOrphan(agent)
	if alive(worker) {
		t.Error("the worker outlives its agent")
	}
	a.checkClean(t)
}

func TestWatchOfAParentThatNobodyCanTell(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	ctx, stop, err := WithParent(t.Context(), null)
	if err != nil {
		t.Skipf("no pidfd here: %v", err)
	}
	if ctx.Err() != nil {
		t.Error("the parent lives, but the watch has ended")
	}
	stop()
	<-ctx.Done()
}

func TestRow078_ThreeHundredSessionsLeaveNothing(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		run := func(i int) {
			worker := "w" + string(rune('0'+i%10)) + "-" + time.Now().Format("150405.000000000")
			var client net.Conn
			switch i % 4 {
			case 0:
				client = f.cold(worker, testStart("true"), 0)
				f.exit(worker, supervise.CauseCompleted)
			case 1:
				client = f.cold(worker, testStart("/bin/sh", "-c", "kill -SEGV $$"), 0)
				f.exit(worker, supervise.CauseCrashSignal)
			case 2:
				client = f.cold(worker, testStart("/bin/sh", "-c", "sleep 1000 & setsid sleep 1000 & exit 3"), 0)
				f.exit(worker, supervise.CauseCrashExit)
			default:
				client = f.cold(worker, testStart("/bin/sh", "-c", "cat <&3 >&3"), 0)
				_, _ = io.WriteString(client, "x")
				expect(t, client, "x")
				f.kill(worker, supervise.CauseClientGone, 0)
				f.exit(worker, supervise.CauseClientGone)
			}
			_ = client.Close()
			f.seen = nil
		}
		for i := range 8 {
			run(i)
		}
		before, zombies := len(dirNames("/proc/self/fd")), zombieChildren(t)
		const sessions = 150 // each way
		for i := range sessions {
			run(i)
		}
		if after := len(dirNames("/proc/self/fd")); after > before+5 {
			t.Errorf("%d descriptors, %d before %d sessions", after, before, sessions)
		}
		if left := dirNames(f.options.WorkRoot); len(left) > 0 {
			t.Errorf("left in the work root: %v", left)
		}
		if left := zombieChildren(t); len(left) > len(zombies) {
			t.Errorf("zombies %v, before %v", left, zombies)
		}
	})
}

// zombieChildren lists the children of this process that nobody has reaped.
func zombieChildren(t *testing.T) []process {
	t.Helper()
	var out []process
	_, err := newProcfs().snapshot(func(p process) {
		if p.parent == os.Getpid() && p.state == 'Z' {
			out = append(out, p)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
