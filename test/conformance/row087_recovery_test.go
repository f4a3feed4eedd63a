//go:build linux

package conformance

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

func TestRow087_TrackerDownAndBack(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	session := tr.open(client.Options{Timeout: 4 * time.Minute})
	checkAddOne(t, session)
	tr.stop()
	down := time.Duration(scaled(3, 60)) * time.Second
	for until := time.Now().Add(down); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		checkAddOne(t, session)
		if a := dialRaw(t, s.addr).shake("client:dev:0.5"); a.Code != tvm.HandshakeMismatch {
			t.Fatalf("door answers %#x while the tracker is down", a.Code)
		}
	}
	tr.start()
	began := time.Now()
	s.waitState("busy") // it says so itself: it is not offered while in a session
	t.Logf("registered again %v after a tracker that was down for %v came back", time.Since(began), down)
	if q := tr.Summary().Queue[key]; q.Free != 0 {
		t.Errorf("%d offers during the session", q.Free)
	}
	checkAddOne(t, session)
	closeOf(t, session)
	if e := s.log.nextEnd(t); e.cause != "completed" {
		t.Errorf("recorded %s: %s", e.cause, e.how)
	}
	tr.works()
}

// serveProcess is a server in a process of its own.
type serveProcess struct {
	*exec.Cmd
	addr string
}

func startServe(t *testing.T, tr *trackerProc, flags ...string) *serveProcess {
	t.Helper()
	return startServeIn(t, tr, tempDir(t), append([]string{"--agent", agentPath}, flags...)...)
}

// startServeIn starts a server whose agent's socket is in dir.
func startServeIn(t *testing.T, tr *trackerProc, dir string, flags ...string) *serveProcess {
	t.Helper()
	args := append([]string{"--key", key, "--listen", "127.0.0.1:0", "--tracker", tr.addr, "--dir", dir}, flags...)
	p := &serveProcess{Cmd: exec.Command(servePath, append(args, "--", workerPath)...)}
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Signal(syscall.SIGTERM)
			if err := p.Wait(); err != nil {
				t.Errorf("server process: %v", err)
			}
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p.addr = strings.TrimSpace(line)
	return p
}

func TestRow088_SupervisorKilled(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	p := startServe(t, tr)
	session := tr.open(client.Options{})
	worker := pidOf(t, session)
	pids := append(parsePIDs(t, call(t, session, "test.grandchildren", 2).(string)), descendants(p.Process.Pid)...)
	if len(named(p.Process.Pid, agentName)) != 1 || !slices.Contains(pids, worker) {
		t.Fatalf("server %d has processes %v, worker is %d", p.Process.Pid, pids, worker)
	}
	killed := time.Now()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	took := eventually(t, patience, "the tracker lets go", func() bool { return len(tr.Summary().Servers) == 0 })
	t.Logf("tracker's entry gone after %v", took)
	if took > time.Second+slack {
		t.Errorf("tracker's entry gone after %v, want at once", took)
	}
	for _, pid := range pids {
		eventually(t, patience, "agent, workers and their children are dead", func() bool { return !alive(pid) })
	}
	t.Logf("%d processes gone after %v", len(pids), time.Since(killed))
	if _, err := tryCall(session, "test.addone", 1); !errors.Is(err, client.ErrSessionLost) {
		t.Errorf("client gets %v, want a lost session", err)
	}
	startServer(t, tr).ready() // nothing of the old one is in the way
	tr.works()
}

// The agent dies, or is stopped by the program under test: no process of its
// workers lives on beside the next agent.
func TestRow088_AgentKilled(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := startTracker(t)
			s := startServer(t, tr, func(o *sidecar.Options) {
				o.KillGrace, o.ReapTimeout = 100*time.Millisecond, 100*time.Millisecond
			}).ready()
			session := tr.open(client.Options{Timeout: limit})
			pids := append(parsePIDs(t, call(t, session, "test.grandchildren", 2).(string)), pidOf(t, session))
			agent := s.agentPID()
			if err := syscall.Kill(agent, sig); err != nil {
				t.Fatal(err)
			}
			_, _ = tryCall(session, "test.sleep", 60.0)
			eventually(t, patience, "another agent", func() bool {
				pid, ok := s.findAgent()
				return ok && pid != agent
			})
			if slices.ContainsFunc(pids, alive) {
				t.Errorf("of %v some live beside the next agent", pids)
			}
			tr.works()
		})
	}
}

// Stopped while nobody uses it, it is found out all the same, and costs no session.
func TestRow088_IdleAgentStopped(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	agent := s.agentPID()
	if err := syscall.Kill(agent, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	eventually(t, patience, "another agent", func() bool {
		pid, ok := s.findAgent()
		return ok && pid != agent
	})
	t.Logf("replaced after %v", time.Since(stopped))
	s.ready()
	tr.works()
}

func TestRow089_Drain(t *testing.T) {
	t.Parallel()
	drainFor := func(d time.Duration) func(*sidecar.Options) {
		return func(o *sidecar.Options) { o.DrainTimeout = d }
	}
	t.Run("free device is withdrawn", func(t *testing.T) {
		t.Parallel()
		tr := startTracker(t)
		s := startServer(t, tr, drainFor(time.Minute)).ready()
		began := time.Now()
		s.stop()
		t.Logf("stopped within %v", time.Since(began))
		eventually(t, patience, "value withdrawn", func() bool {
			sum := tr.Summary()
			return sum.Queue[key].Free == 0 && len(sum.Servers) == 0
		})
	})
	t.Run("session may finish", func(t *testing.T) {
		t.Parallel()
		tr := startTracker(t)
		s := startServer(t, tr, drainFor(time.Minute)).ready()
		session := tr.open(client.Options{})
		stopped := make(chan struct{})
		go func() { defer close(stopped); s.stop() }()
		s.waitState("draining")
		checkAddOne(t, session)
		if q := tr.Summary().Queue[key]; q.Free != 0 {
			t.Errorf("%d offers of a draining device", q.Free)
		}
		closeOf(t, session)
		<-stopped
		if e := s.log.nextEnd(t); e.cause != "completed" {
			t.Errorf("recorded %s: %s", e.cause, e.how)
		}
		if puts := s.metric("rpcpool_offers_total", "put"); puts != 1 {
			t.Errorf("%v offers, want only the one before", puts)
		}
	})
	t.Run("until the drain time is over", func(t *testing.T) {
		t.Parallel()
		tr := startTracker(t)
		s := startServer(t, tr, drainFor(500*time.Millisecond)).ready()
		session := tr.open(client.Options{})
		pid := pidOf(t, session)
		stopped := make(chan struct{})
		go func() { defer close(stopped); s.stop() }()
		_, err := tryCall(session, "test.sleep", 60.0)
		var remote *client.RemoteError
		if !errors.As(err, &remote) || !strings.HasPrefix(remote.Text, "killed-drain: ") {
			t.Errorf("client got %v, want an exception that says killed-drain", err)
		}
		if e := s.log.nextEnd(t); e.cause != "killed-drain" {
			t.Errorf("recorded %s: %s", e.cause, e.how)
		}
		if alive(pid) {
			t.Errorf("worker %d lives on", pid)
		}
		closeOf(t, session)
		<-stopped
		eventually(t, patience, "server gone", func() bool { return len(tr.Summary().Servers) == 0 })
	})
}

// A server of ours that hangs; package tracker has the row with a stock one.
func TestRow090_HungServer(t *testing.T) {
	t.Parallel()
	const hungAfter = 4 * time.Second
	tr := startTrackerWith(t, "127.0.0.1:0", tracker.Options{HungAfter: hungAfter})
	p := startServe(t, tr)
	info := func() (first tvm.ServerInfo) {
		for _, s := range tr.Summary().Servers {
			return s
		}
		return first
	}
	eventually(t, patience, "server has polled a few times", func() bool {
		return info().State() == "free" && info().Age() > 7*time.Second
	})
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := p.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	stopped := time.Now()
	eventually(t, patience, "the hung server is withdrawn", func() bool {
		return info().State() == "hung" && tr.Summary().Queue[key].Free == 0
	})
	silent := time.Since(stopped)
	t.Logf("withdrawn %v after SIGSTOP, with a limit of %v since the last poll", silent, hungAfter)
	if silent < hungAfter-3*time.Second || silent > hungAfter+time.Second+slack {
		t.Errorf("withdrawn after %v, want %v since the last poll", silent, hungAfter)
	}
	served := make(chan error, 1)
	go func() {
		s, err := client.Request(t.Context(), tr.addr, key, client.Options{})
		if err == nil {
			_ = s.Close()
		}
		served <- err
	}()
	eventually(t, patience, "the request waits", func() bool { return tr.Summary().Queue[key].Pending == 1 })
	signal(syscall.SIGCONT)
	if err := <-served; err != nil {
		t.Errorf("polls resumed, and the request that waited: %v", err)
	}
}
