package agent

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// long is a start of this test binary as a long-lived worker.
func (f *fixture) long(args ...string) *supervise.Start {
	s := testStart(append([]string{f.exe}, args...)...)
	s.Env = []string{roleEnv + "=long", quickExit}
	s.LongLived = true
	return s
}

// startLong starts a long-lived worker and returns its pid when it is ready.
func (f *fixture) startLong(worker string, start *supervise.Start) int {
	f.t.Helper()
	f.warm(worker, start)
	pid := f.await(supervise.EventStarted, worker).PID
	f.await(supervise.EventReady, worker)
	return pid
}

// ask gives a worker a session in which it is to do something.
func (f *fixture) ask(worker, what string, timeout time.Duration) *asked {
	f.t.Helper()
	a := &asked{f: f, worker: worker}
	client := f.give(worker, timeout)
	if _, err := fmt.Fprintln(client, what); err != nil {
		f.t.Fatal(err)
	}
	a.read = func() string { return readAll(f.t, client) }
	return a
}

type asked struct {
	f      *fixture
	worker string
	read   func() string // until the end of the session
}

// ended awaits the end of the session, which the worker survives.
func (a *asked) ended(cause supervise.Cause) *supervise.Report {
	a.f.t.Helper()
	e := a.f.await(supervise.EventEnded, a.worker)
	if e.Report == nil || e.Report.Cause != cause || e.Session == nil || e.Session.ID != "id-"+a.worker {
		a.f.t.Fatalf("end of session %+v: %+v, want %s", e.Session, e.Report, cause)
	}
	return e.Report
}

func TestALongLivedWorkerServesSessionsInARow(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		pid := f.startLong("w1", f.long())
		dirs := map[string]bool{}
		for i := range 3 {
			s := f.ask("w1", "who", 0)
			said := s.read()
			var gotPID, entries int
			var dir, problem string
			if _, err := fmt.Sscan(said, &gotPID, &dir, &entries, &problem); err != nil || gotPID != pid || entries != 0 || problem != "<nil>" {
				t.Fatalf("session %d: %q, want pid %d and an empty directory", i, said, pid)
			}
			dirs[dir] = true
			r := s.ended(supervise.CauseCompleted)
			if r.Wall <= 0 || r.MaxRSS < 1<<20 || strings.Count(string(r.Output), "said by") != 1 {
				t.Errorf("session %d: report %+v", i, r)
			}
			eventually(t, "the session's directory is gone", func() bool {
				_, err := os.Stat(dir)
				return os.IsNotExist(err)
			})
		}
		if len(dirs) != 3 {
			t.Errorf("3 sessions had the directories %v", dirs)
		}
	})
}

func TestALongLivedWorkerSaysThatItsClientBrokeTheProtocol(t *testing.T) {
	f := runAgent(t)
	f.startLong("w1", f.long())
	f.ask("w1", "protocol", 0).ended(supervise.CauseProtocolError)
	f.ask("w1", "who", 0).ended(supervise.CauseCompleted)
}

// TestDeadlinesOfALongLivedWorker: one ends by itself, and one has to be killed. So has one that
// got no processor for the grace that it has, which says nothing of the agent: another is asked.
func TestDeadlinesOfALongLivedWorker(t *testing.T) {
	const timeout, grace = 200 * time.Millisecond, 40 * time.Millisecond
	for what, status := range map[string]string{
		"watchdog": "exit status 0",
		"hang":     "killed by signal 9 (SIGKILL)",
	} {
		t.Run(what, func(t *testing.T) {
			f := runAgent(t)
			for i := 1; ; i++ {
				id := fmt.Sprintf("w%d", i)
				f.startLong(id, f.long())
				f.ask(id, what, timeout)
				r := f.exit(id, supervise.CauseTimeout)
				t.Logf("%v late", r.Wall-timeout)
				late := r.Signal == syscall.SIGKILL && r.Wall >= timeout+grace
				if late && what == "watchdog" && i < 20 {
					continue
				}
				if r.Limit != supervise.LimitSession || r.String() != status || r.Wall < timeout-time.Millisecond || late != (what == "hang") {
					t.Errorf("%s after %v, limit %q; want %s after %v", r, r.Wall, r.Limit, status, timeout)
				}
				return
			}
		})
	}
}

func TestALongLivedWorkerThatCrashesTakesItsSessionAlong(t *testing.T) {
	f := runAgent(t)
	f.startLong("w1", f.long())
	f.ask("w1", "exit 7", 0)
	if r := f.exit("w1", supervise.CauseCrashExit); r.Code != 7 {
		t.Errorf("report %+v", r)
	}
	pid := f.startLong("w2", f.long())
	f.ask("w2", "who", 0).ended(supervise.CauseCompleted)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := f.await(supervise.EventExited, "w2"); e.Session != nil || e.Report.Cause != supervise.CauseStartFailed {
		t.Errorf("killed between sessions: %+v, %+v", e.Session, e.Report)
	}
}

// What a session left running would compute beside the next one.
func TestAWorkerWhoseSessionLeavesProcessesBehindIsReplaced(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		f.startLong("w1", f.long())
		client := f.give("w1", 0)
		if _, err := fmt.Fprintln(client, "leave"); err != nil {
			t.Fatal(err)
		}
		left := readPIDs(t, client)[0]
		if e := f.await(supervise.EventExited, "w1"); e.Report.Cause != supervise.CauseCompleted || e.Session == nil {
			t.Errorf("end %+v", e.Report)
		}
		if !gone(left) {
			t.Errorf("process %d is there", left)
		}
	})
}

func TestWhatAWorkerSaysBySdNotify(t *testing.T) {
	cases := []struct {
		name, asks string
		change     func(*supervise.Start)
		limit      supervise.Limit
		told       string
	}{
		{
			"a loop that has beaten and falls silent", "say WATCHDOG=1",
			func(s *supervise.Start) { s.Heartbeat = 100 * time.Millisecond }, supervise.LimitHeartbeat, "no heartbeat within 100ms",
		},
		{
			"heartbeats of another process do not count", "child-says",
			func(s *supervise.Start) { s.Heartbeat = 100 * time.Millisecond }, supervise.LimitHeartbeat, "no heartbeat within 100ms",
		},
		{
			"a phase over its budget", "say X_RPCPOOL_PHASE=load",
			func(s *supervise.Start) {
				s.Budgets = map[supervise.Phase]time.Duration{supervise.PhaseLoad: 100 * time.Millisecond}
			}, supervise.LimitLoad, `phase "load" took over 100ms`,
		},
		{
			"a worker that asks to be ended", "say WATCHDOG=trigger", func(*supervise.Start) {},
			supervise.LimitHeartbeat, "asked to be ended (WATCHDOG=trigger)",
		},
		{
			"heartbeats that rest leave only the deadline", "say WATCHDOG=1 EXTEND_TIMEOUT_USEC=0",
			func(s *supervise.Start) { s.Heartbeat = 100 * time.Millisecond }, supervise.LimitSession, "",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := runAgent(t)
			start := f.long()
			c.change(start)
			f.startLong("w1", start)
			f.ask("w1", c.asks, time.Second)
			if r := f.exit("w1", supervise.CauseTimeout); r.Limit != c.limit || r.Error != c.told {
				t.Errorf("limit %q, %q; want %q, %q", r.Limit, r.Error, c.limit, c.told)
			}
		})
	}
	t.Run("READY=1 is as good as R, and a slow start may ask for time", func(t *testing.T) {
		f := runAgent(t)
		f.startLong("w1", f.long("notify"))
		slow := f.long("slow")
		slow.StartTimeout = time.Second
		f.startLong("w2", slow)
	})
}

func TestParseNotice(t *testing.T) {
	second, none, phase := time.Second, time.Duration(0), supervise.PhaseRun
	cases := map[string]struct {
		text string
		want string
		ok   bool
	}{
		"nothing":                      {"", "", false},
		"what is not for us":           {"STATUS=fine\nMAINPID=7", "", false},
		"ready":                        {"READY=1", "ready", true},
		"not ready":                    {"READY=0", "", false},
		"several lines":                {"STATUS=x\nWATCHDOG=1\nREADY=1\n", "ready beat", true},
		"a trigger is no heartbeat":    {"WATCHDOG=trigger", "trip", true},
		"nor is anything else":         {"WATCHDOG=2", "", false},
		"more time":                    {"EXTEND_TIMEOUT_USEC=1000000", "extend " + second.String(), true},
		"rest":                         {"EXTEND_TIMEOUT_USEC=0", "extend " + none.String(), true},
		"more time than there is":      {"EXTEND_TIMEOUT_USEC=9223372036854775807", "extend 24h0m0s", true},
		"time that is none":            {"EXTEND_TIMEOUT_USEC=-1", "", false},
		"a phase":                      {"X_RPCPOOL_PHASE=run", "phase " + string(phase), true},
		"the end of a phase":           {"X_RPCPOOL_PHASE=", "phase ", true},
		"bytes that are no text":       {"\xff\x00=\n=\n\n", "", false},
		"a line without an equal sign": {"WATCHDOG", "", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n, ok := parseNotice(c.text)
			var got []string
			if n.ready {
				got = append(got, "ready")
			}
			if n.beat {
				got = append(got, "beat")
			}
			if n.trip {
				got = append(got, "trip")
			}
			if n.extend != nil {
				got = append(got, "extend "+n.extend.String())
			}
			if n.phase != nil {
				got = append(got, "phase "+string(*n.phase))
			}
			if text := strings.Join(got, " "); text != c.want || ok != c.ok {
				t.Errorf("%q (%v), want %q (%v)", text, ok, c.want, c.ok)
			}
		})
	}
}

// A sidecar that dies loses nothing: what it has not acknowledged, its successor
// is told, and it gets the sockets of the sessions.
func TestASuccessorIsToldWhatWasNotAcknowledged(t *testing.T) {
	f := runAgent(t)
	f.close()
	f.sidecar = connect(t, f.options.Socket, func(s *sidecar) { s.forgetful = true })
	f.cold("w1", f.behaviour("say-then-exit", "bye", "7"), 0)
	f.exit("w1", supervise.CauseCrashExit)
	f.close()

	second := connect(t, f.options.Socket)
	if e := second.await(supervise.EventExited, "w1"); e.Session == nil || e.Session.ID != "id-w1" || e.Report.Code != 7 {
		t.Fatalf("told %+v, %+v", e.Session, e.Report)
	}
	second.cold("w2", testStart("true"), 0)
	second.exit("w2", supervise.CauseCompleted)
	second.close()

	third := connect(t, f.options.Socket) // the second has acknowledged that
	third.cold("w3", testStart("true"), 0)
	third.exit("w3", supervise.CauseCompleted)
	for _, e := range third.seen {
		if e.Worker == "w1" {
			t.Errorf("told again: %+v", e)
		}
	}
	f.sidecar = third
}

func TestASuccessorGetsTheSocketOfTheSession(t *testing.T) {
	f := runAgent(t)
	client := f.cold("w1", f.behaviour("echo"), 0)
	f.await(supervise.EventStarted, "w1")
	f.close()

	second := connect(t, f.options.Socket, func(s *sidecar) { s.keepFDs = true })
	e := second.await(supervise.EventAdopt, "w1")
	if e.FD < 0 || e.Session == nil || e.Session.ID != "id-w1" {
		t.Fatalf("adopt %+v with descriptor %d", e, e.FD)
	}
	defer unix.Close(e.FD)
	if _, err := unix.Write(e.FD, []byte("from the successor")); err != nil {
		t.Fatal(err)
	}
	expect(t, client, "from the successor")
	_ = client.Close()
	second.exit("w1", supervise.CauseCompleted)
	f.sidecar = second
}

func TestAClientWhoseSessionEndedWithoutASidecarIsNotLeftWaiting(t *testing.T) {
	f := runAgent(t)
	began := time.Now()
	client := f.cold("w1", f.behaviour("say-then-exit", "bye", "7"), 0)
	f.await(supervise.EventStarted, "w1")
	f.close()
	readAll(t, client) // until the agent lets go
	t.Logf("let go after %v", time.Since(began))
	second := connect(t, f.options.Socket, func(s *sidecar) { s.keepFDs = true })
	if e := second.await(supervise.EventExited, "w1"); e.FD >= 0 && e.Report.Cause == supervise.CauseCrashExit {
		t.Error("the socket came although it was let go")
	}
	f.sidecar = second
}

func TestAnAgentThatIsToldToStopLetsSessionsFinish(t *testing.T) {
	f := runAgent(t, func(o *Options) { o.DrainTimeout = patience })
	f.warm("spare", f.behaviour("warm", "echo"))
	f.await(supervise.EventReady, "spare")
	client := f.cold("busy", f.behaviour("echo"), 0)
	f.await(supervise.EventStarted, "busy")
	f.startLong("long", f.long())
	hanging := f.give("long", 0)
	fmt.Fprintln(hanging, "hang")
	expect(t, hanging, "up")
	f.cancel()
	f.await(supervise.EventStopping, "")
	f.exit("spare", supervise.CauseKilledDrain)
	f.cold("late", testStart("true"), 0)
	f.exit("late", supervise.CauseStartFailed)
	if _, err := client.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	expect(t, client, "still here")
	_ = client.Close()
	f.exit("busy", supervise.CauseCompleted)
	f.kill("long", supervise.CauseKilledDrain, 0)
	if err := f.stop(); err != nil {
		t.Error(err)
	}
	f.checkClean()
}

func TestStacksAreAskedForBeforeAWorkerIsKilled(t *testing.T) {
	f := runAgent(t)
	start := f.behaviour("ignore-term")
	start.Dump = unix.SIGQUIT
	expect(t, f.cold("w1", start, 2*time.Second), "up")
	r := f.exit("w1", supervise.CauseTimeout)
	if r.Code != 2 || !strings.Contains(string(r.Output), "SIGQUIT") || !strings.Contains(string(r.Output), "goroutine ") {
		t.Errorf("code %d, output %.300q", r.Code, r.Output)
	}
}
