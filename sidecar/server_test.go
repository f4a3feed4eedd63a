package sidecar

import (
	"encoding/binary"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
)

// exception reads an exception packet, the last thing that a client gets.
func (c *client) exception(f tvm.Flavour) string {
	c.t.Helper()
	packet := c.rest()
	if len(packet) < 8 || binary.LittleEndian.Uint64(packet) != uint64(len(packet)-8) {
		c.t.Fatalf("not one packet: % x", packet)
	}
	p, err := tvm.DecodePacket(f, packet[8:])
	if err != nil {
		c.t.Fatal(err)
	}
	e, ok := p.(tvm.Exception)
	if !ok {
		c.t.Fatalf("a %T, not an exception", p)
	}
	return e.Text
}

func TestASessionGoesToTheWarmWorkerAndItsBytesToNobodyElse(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial(t)
	c.handshake("dev", 7*time.Second)
	cmd := s.agent.next(supervise.OpSession)
	if cmd.Session.Key != "dev" || cmd.Session.Client != c.LocalAddr().String() || cmd.Session.Timeout != 7*time.Second || cmd.Session.ID == "" {
		t.Errorf("session = %+v", cmd.Session)
	}
	c.write([]byte("ping"))
	got := make([]byte, 4)
	if n, err := cmd.session.Read(got); err != nil || string(got[:n]) != "ping" {
		t.Fatalf("the worker read %q, error %v", got[:n], err)
	}
	if _, err := cmd.session.Write([]byte("pong")); err != nil {
		t.Fatal(err)
	}
	if got := c.read(4); string(got) != "pong" {
		t.Errorf("the client read %q", got)
	}
	_ = cmd.session.Close()
	s.agent.exited(cmd.Worker, supervise.Report{Cause: supervise.CauseCompleted})
	if rest := c.rest(); len(rest) != 0 {
		t.Errorf("after an orderly end came % x", rest)
	}
	next := s.dial(t)
	next.handshake("dev", 0)
	again := s.agent.next(supervise.OpSession)
	if again.Worker == cmd.Worker || again.Session.ID == cmd.Session.ID {
		t.Error("the second session has the worker or the id of the first")
	}
	_ = again.session.Close()
	s.agent.exited(again.Worker, supervise.Report{Cause: supervise.CauseCompleted})
}

func TestColdServersStartTheWorkerWithTheSession(t *testing.T) {
	s := startServer(t, func(o *Options) { o.Warm = 0; o.Limits.File = 1 << 20; o.Env = []string{"A=b"} })
	c := s.dial(t)
	c.handshake("dev", 0)
	cmd := s.agent.next(supervise.OpStart)
	if cmd.session == nil || cmd.Session == nil || cmd.Start == nil {
		t.Fatalf("command %+v", cmd.Command)
	}
	if cmd.Start.Argv[0] != "worker" || cmd.Start.Limits.File != 1<<20 || cmd.Start.Env[0] != "A=b" || cmd.Start.KillGrace != 50*time.Millisecond {
		t.Errorf("start = %+v", cmd.Start)
	}
	_ = cmd.session.Close()
	s.agent.exited(cmd.Worker, supervise.Report{Cause: supervise.CauseCompleted})
}

func TestTheClientIsToldHowItsSessionEnded(t *testing.T) {
	cases := map[string]struct {
		flavour tvm.Flavour
		report  supervise.Report
		want    []string
	}{
		"at the deadline, in flavour A": {tvm.FlavourA, supervise.Report{Cause: supervise.CauseTimeout, Code: -1, Signal: syscall.SIGTERM},
			[]string{"RPCSessionTimeoutError: ", "killed after 7s, its limit"}},
		"at the deadline, in flavour C": {tvm.FlavourC, supervise.Report{Cause: supervise.CauseTimeout, Code: -1, Signal: syscall.SIGTERM},
			[]string{"RPCSessionTimeoutError: ", "killed after 7s, its limit"}},
		"by a signal":       {tvm.FlavourC, supervise.Report{Cause: supervise.CauseCrashSignal, Code: -1, Signal: syscall.SIGSEGV}, []string{"crash-signal: ", "SIGSEGV"}},
		"by an exit status": {tvm.FlavourA, supervise.Report{Cause: supervise.CauseCrashExit, Code: 3, Output: []byte("bad tile\n")}, []string{"crash-exit: ", "exit status 3: bad tile"}},
		"for want of memory": {tvm.FlavourC, supervise.Report{Cause: supervise.CauseOOM, Code: -1, Signal: syscall.SIGKILL, MaxRSS: 300 << 20},
			[]string{"oom: ", "peak 300 MiB"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			agent := newScriptedAgent(t)
			agent.set(func(a *scriptedAgent) { a.flavour = tc.flavour })
			s := startServerOver(t, agent, nil)
			c := s.dial(t)
			c.handshake("dev", 7*time.Second)
			cmd := agent.next(supervise.OpSession)
			_ = cmd.session.Close()
			agent.exited(cmd.Worker, tc.report)
			text := c.exception(tc.flavour)
			for _, want := range tc.want {
				if !strings.Contains(text, want) {
					t.Errorf("exception %q lacks %q", text, want)
				}
			}
		})
	}
}

func TestAWorkerKilledInTheMiddleOfAReplyGetsNoPacketAppendedToIt(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial(t)
	if err := c.SetReadBuffer(64 << 10); err != nil { // fixed, so that what does not fit stays with the sender
		t.Fatal(err)
	}
	c.handshake("dev", 0)
	cmd := s.agent.next(supervise.OpSession)
	// Fill the socket as a worker does that is blocked in a long write.
	raw, err := cmd.session.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	block, total := make([]byte, 1<<20), 0
	_ = raw.Control(func(fd uintptr) {
		for {
			n, err := syscall.SendmsgN(int(fd), block, nil, nil, syscall.MSG_DONTWAIT)
			if err != nil {
				return
			}
			total += n
		}
	})
	_ = cmd.session.Close()
	s.agent.exited(cmd.Worker, supervise.Report{Cause: supervise.CauseCrashSignal, Signal: syscall.SIGSEGV})
	next := s.dial(t)
	next.handshake("dev", 0) // by now the first client has had all that it will get
	if got := len(c.rest()); got != total {
		t.Errorf("the client read %d bytes, the worker wrote %d", got, total)
	}
	s.finishSession(s.agent.next(supervise.OpSession))
}

func TestSessionTimeouts(t *testing.T) {
	o := Options{}
	o.SessionTimeout.Default, o.SessionTimeout.Max = 10*time.Second, 60*time.Second
	cases := map[string]struct {
		key     string
		want    time.Duration
		clamped bool
	}{
		"asked for none":               {"client:k", 10 * time.Second, false},
		"asked for seconds":            {"client:k -timeout=20", 20 * time.Second, false},
		"asked for a float":            {"client:k -timeout=0.01", 10 * time.Millisecond, false},
		"asked in scientific notation": {"client:k -timeout=1e-05", 10 * time.Microsecond, false},
		"asked for more than there is": {"client:k -timeout=3600", 60 * time.Second, true},
		"asked for far too much":       {"client:k -timeout=1e308", 60 * time.Second, true},
		"asked for 0":                  {"client:k -timeout=0", 10 * time.Second, false},
		"asked for less than 0":        {"client:k -timeout=-1", 10 * time.Second, false},
		"asked for no number":          {"client:k -timeout=abc", 10 * time.Second, false},
		"asked for nothing":            {"client:k -timeout=", 10 * time.Second, false},
		"asked for nan":                {"client:k -timeout=nan", 10 * time.Second, false},
		"asked for inf":                {"client:k -timeout=inf", 10 * time.Second, false},
		"asked for other things":       {"client:k -foo=1 bar", 10 * time.Second, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hello, err := tvm.ParseClientKey([]byte(tc.key))
			if err != nil {
				t.Fatal(err)
			}
			if got, clamped := o.sessionTimeout(hello); got != tc.want || clamped != tc.clamped {
				t.Errorf("%s, clamped %v; want %s, %v", got, clamped, tc.want, tc.clamped)
			}
		})
	}
}

func TestAClientThatGoesAwayFreesTheDeviceAfterTheGrace(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial(t)
	c.handshake("dev", 0)
	cmd := s.agent.next(supervise.OpSession)
	_ = c.Close()
	kill := s.agent.next(supervise.OpKill)
	if kill.Worker != cmd.Worker || kill.Kill.Cause != supervise.CauseClientGone || kill.Kill.Grace != 50*time.Millisecond {
		t.Errorf("kill = %+v of %s", kill.Kill, kill.Worker)
	}
	_ = cmd.session.Close()
	s.agent.exited(cmd.Worker, supervise.Report{Cause: supervise.CauseClientGone})
	next := s.dial(t)
	next.handshake("dev", 0)
	s.finishSession(s.agent.next(supervise.OpSession))
}

// finishSession plays the orderly end of a session.
func (s *testServer) finishSession(c scriptedCommand) {
	_ = c.session.Close()
	s.agent.exited(c.Worker, supervise.Report{Cause: supervise.CauseCompleted})
}

func TestAWorkerWhoseClientWentAwayIsNotBlamed(t *testing.T) {
	gone, stayed := &session{gone: time.Now(), leftFirst: true}, &session{}
	for _, cause := range supervise.Causes() {
		want := cause
		switch cause {
		case supervise.CauseCrashExit, supervise.CauseCrashSignal, supervise.CauseProtocolError:
			want = supervise.CauseClientGone
		default:
		}
		if got := gone.endOf(supervise.Report{Cause: cause}).cause; got != want {
			t.Errorf("client gone, worker %s: cause %s, want %s", cause, got, want)
		}
		if got := stayed.endOf(supervise.Report{Cause: cause}).cause; got != cause {
			t.Errorf("client there, worker %s: cause %s", cause, got)
		}
		if got := (&session{gone: time.Now()}).endOf(supervise.Report{Cause: cause}).cause; got != cause {
			t.Errorf("client left because the session was over, worker %s: cause %s", cause, got)
		}
	}
}

func TestEveryCauseHasItsWordsOrNone(t *testing.T) {
	silent := map[supervise.Cause]bool{supervise.CauseCompleted: true, supervise.CauseClientGone: true, supervise.CauseProtocolError: true}
	s := &session{timeout: time.Second, clamped: true}
	for _, cause := range append(supervise.Causes(), "new-cause") {
		text := s.exceptionText(end{cause: cause})
		if silent[cause] != (text == "") {
			t.Errorf("%s: text %q", cause, text)
		}
		if text != "" && cause != supervise.CauseTimeout && !strings.HasPrefix(text, string(cause)+": ") {
			t.Errorf("%s: text %q does not begin with the cause", cause, text)
		}
	}
	if text := s.exceptionText(end{cause: supervise.CauseTimeout}); !strings.Contains(text, "the server's maximum") {
		t.Errorf("a clamped session's timeout says %q", text)
	}
}

func TestAHungAgentIsGivenUpAndItsClientTold(t *testing.T) {
	s := startServer(t, func(o *Options) { o.KillGrace, o.ReapTimeout = time.Millisecond, time.Millisecond })
	c := s.dial(t)
	c.handshake("dev", 10*time.Millisecond) // over which the agent says nothing
	cmd := s.agent.next(supervise.OpSession)
	_ = cmd.session.Close()
	if text := c.exception(tvm.FlavourC); !strings.HasPrefix(text, tvm.SessionTimeoutPrefix) {
		t.Errorf("exception %q", text)
	}
	select {
	case <-s.core.hung:
	case <-time.After(patience):
		t.Error("whoever runs the agent was not told")
	}
	next := s.dial(t)
	next.handshake("dev", 0) // served by the agent's successor
	s.finishSession(s.agent.next(supervise.OpSession))
}

func TestAServerStopsEvenIfItsAgentIsHung(t *testing.T) {
	s := startServer(t, func(o *Options) { o.KillGrace, o.ReapTimeout = time.Millisecond, time.Millisecond })
	c := s.dial(t)
	c.handshake("dev", 0)
	cmd := s.agent.next(supervise.OpSession)
	s.stop()
	s.agent.next(supervise.OpKill) // and nothing comes of it
	if err := s.wait(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.session.Close()
	if text := c.exception(tvm.FlavourC); !strings.HasPrefix(text, "killed-drain: ") {
		t.Errorf("exception %q", text)
	}
}

func TestAnAgentThatDiesTakesTheSessionAlongAndTheServerGoesOn(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial(t)
	c.handshake("dev", 0)
	cmd := s.agent.next(supervise.OpSession)
	_ = cmd.session.Close()
	s.agent.disconnect()
	if text := c.exception(tvm.FlavourC); !strings.Contains(text, "crash-signal: ") || !strings.Contains(text, "above the worker died") {
		t.Errorf("exception %q", text)
	}
	next := s.dial(t)
	next.handshake("dev", 0) // served by the agent's successor
	s.finishSession(s.agent.next(supervise.OpSession))
}

func TestASessionThatAnEarlierSidecarBeganIsWaitedFor(t *testing.T) {
	agent := newScriptedAgent(t)
	agent.set(func(a *scriptedAgent) {
		a.hello.Workers = []supervise.HelloWorker{
			{ID: "old-1", State: supervise.StateBusy, Session: &supervise.Session{ID: "s1", Client: "10.0.0.1:1"}},
			{ID: "old-2", State: supervise.StateSpare},
		}
	})
	s := startServerOver(t, agent, nil)
	if kill := agent.next(supervise.OpKill); kill.Worker != "old-2" {
		t.Errorf("killed %s, want the spare", kill.Worker)
	}
	agent.exited("old-2", supervise.Report{Cause: supervise.CauseKilledDrain})
	eventually(t, "the device is busy", func() bool { return s.Ready() == nil })
	c := s.dial(t)
	c.write(tvm.AppendClientHello(nil, "dev", 0))
	agent.exited("old-1", supervise.Report{Cause: supervise.CauseCompleted})
	s.finishSession(agent.next(supervise.OpSession))
}

func TestADeviceWhoseWorkersDoNotStartIsWithdrawnUntilTheyDo(t *testing.T) {
	agent := newScriptedAgent(t)
	agent.set(func(a *scriptedAgent) { a.fail = 3 })
	reg := prometheus.NewRegistry()
	m, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	s := startServerOver(t, agent, func(o *Options) { o.Quarantine.Failures = 2; o.Metrics = m })
	eventually(t, "quarantine", func() bool {
		err := s.Ready()
		return err != nil && strings.Contains(err.Error(), "quarantined: quarantined: no such program")
	})
	eventually(t, "recovery", func() bool { return s.Ready() == nil })
	if got := testutil.ToFloat64(m.restarts.WithLabelValues("dev", "start-failed")); got != 3 {
		t.Errorf("%v failed starts counted", got)
	}
}

func TestAColdServerWhoseWorkerDidNotStartProbesBeforeItLetsAnybodyIn(t *testing.T) {
	s := startServer(t, func(o *Options) { o.Warm = 0 })
	first := s.dial(t)
	first.handshake("dev", 0)
	cmd := s.agent.next(supervise.OpStart)
	_ = cmd.session.Close()
	s.agent.exited(cmd.Worker, supervise.Report{Cause: supervise.CauseStartFailed, Code: -1, Error: "no such program"})
	if text := first.exception(tvm.FlavourC); text != "start-failed: no such program" {
		t.Errorf("exception %q", text)
	}
	next := s.dial(t)
	next.handshake("dev", 0) // after the probe, which the agent answers by itself
	s.finishSession(s.agent.next(supervise.OpStart))
}

func TestAWorkerOfTheWrongFlavourIsNotOffered(t *testing.T) {
	s := startServer(t, func(o *Options) { o.Flavour = tvm.FlavourA; o.Quarantine.Failures = 1 })
	eventually(t, "it says why", func() bool {
		err := s.Ready()
		return err != nil && strings.Contains(err.Error(), "worker speaks flavour C, not A")
	})
}

func TestNobodyIsLetInWhileNoWorkerIsReady(t *testing.T) {
	agent := newScriptedAgent(t)
	s := startServerOver(t, agent, func(o *Options) { o.StartTimeout = 5 * time.Second })
	eventually(t, "free", func() bool { return s.Ready() == nil })
	agent.set(func(a *scriptedAgent) { a.auto = false })
	first := s.dial(t)
	first.handshake("dev", 0)
	var session scriptedCommand
	for range 2 { // the hand-over and the refill, in either order; the refill hangs
		if c := <-agent.commands; c.Op == supervise.OpSession {
			session = c
		}
	}
	s.finishSession(session)
	second := s.dial(t)
	second.write(tvm.AppendClientHello(nil, "dev", 0))
	eventually(t, "no worker, no offer", func() bool { return s.Ready() != nil })
	_ = second.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := second.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a client was let in although no worker is ready")
	}
	agent.set(func(a *scriptedAgent) { a.auto = true })
}

func TestAnUnkillableWorkerWithdrawsTheDevice(t *testing.T) {
	s := startServer(t, func(o *Options) { o.KillGrace = time.Hour })
	c := s.dial(t)
	c.handshake("dev", time.Second)
	cmd := s.agent.next(supervise.OpSession)
	s.agent.send(supervise.Event{Kind: supervise.EventUnkillable, Worker: cmd.Worker, Report: &supervise.Report{Cause: supervise.CauseTimeout}})
	if text := c.exception(tvm.FlavourC); !strings.HasPrefix(text, "unkillable: ") {
		t.Errorf("exception %q", text)
	}
	eventually(t, "it says why", func() bool {
		err := s.Ready()
		return err != nil && strings.Contains(err.Error(), "device-fault") && strings.Contains(err.Error(), cmd.Worker)
	})
	_ = cmd.session.Close()
	s.agent.exited(cmd.Worker, supervise.Report{Cause: supervise.CauseUnkillable})
	eventually(t, "it is back", func() bool { return s.Ready() == nil })
}

func TestDrainLetsTheSessionFinish(t *testing.T) {
	s := startServer(t, func(o *Options) { o.DrainTimeout = time.Hour })
	c := s.dial(t)
	c.handshake("dev", 0)
	cmd := s.agent.next(supervise.OpSession)
	s.stop()
	eventually(t, "it drains", func() bool { return s.device().state == stateDraining })
	if err := s.Ready(); err != nil {
		t.Errorf("in a session, and not ready: %v", err)
	}
	select {
	case <-s.ended:
		t.Fatal("the server did not wait for the session")
	default:
	}
	s.finishSession(cmd)
	if err := s.wait(); err != nil {
		t.Fatal(err)
	}
	if rest := c.rest(); len(rest) != 0 {
		t.Errorf("the session that finished got % x", rest)
	}
}

func TestDrainKillsWhatDoesNotFinishInTime(t *testing.T) {
	s := startServer(t, nil) // no drain time
	c := s.dial(t)
	c.handshake("dev", 0)
	cmd := s.agent.next(supervise.OpSession)
	s.stop()
	if kill := s.agent.next(supervise.OpKill); kill.Kill.Cause != supervise.CauseKilledDrain {
		t.Errorf("kill = %+v", kill.Kill)
	}
	_ = cmd.session.Close()
	s.agent.exited(cmd.Worker, supervise.Report{Cause: supervise.CauseKilledDrain})
	if text := c.exception(tvm.FlavourC); !strings.HasPrefix(text, "killed-drain: ") {
		t.Errorf("exception %q", text)
	}
	if err := s.wait(); err != nil {
		t.Fatal(err)
	}
}

func TestAListenerThatFailsEndsTheServer(t *testing.T) {
	agent := newScriptedAgent(t)
	listener, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Key: "dev", Listener: listener, AgentSocket: agent.path, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "accept") {
		t.Errorf("error %v", err)
	}
}

func TestMetricsFollowTheConventions(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, func(o *Options) { o.Metrics = m })
	c := s.dial(t)
	c.handshake("dev", 2*time.Hour) // clamped
	cmd := s.agent.next(supervise.OpSession)
	eventually(t, "busy", func() bool { return testutil.ToFloat64(m.state.WithLabelValues("dev", "busy")) == 1 })
	if n := testutil.ToFloat64(m.state.WithLabelValues("dev", "free")); n != 0 {
		t.Errorf("%v free devices while the only one is busy", n)
	}
	s.finishSession(cmd)
	eventually(t, "the end is counted", func() bool {
		return testutil.ToFloat64(m.ends.WithLabelValues("dev", "completed")) == 1
	})
	if n := testutil.ToFloat64(m.clamped.WithLabelValues("dev")); n != 1 {
		t.Errorf("%v clamped sessions", n)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, error %v", problems, err)
	}
	if _, err := NewMetrics(reg); err == nil {
		t.Error("registered twice")
	}
}

// TestCountersBeginAt0: a rate sees no increase from a series that is not there to one
// that is 1.
func TestCountersBeginAt0(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	startServer(t, func(o *Options) { o.Metrics = m })
	for name, want := range map[string]int{
		"rpcpool_session_ends_total":             len(supervise.Causes()),
		"rpcpool_worker_restarts_total":          len(supervise.Causes()),
		"rpcpool_session_bytes_total":            2,
		"rpcpool_session_timeouts_clamped_total": 1,
	} {
		if n, err := testutil.GatherAndCount(reg, name); err != nil || n != want {
			t.Errorf("%s has %d series before the first session, want %d: %v", name, n, want, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	listener, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	good := Options{Key: "dev", Listener: listener, AgentSocket: "/run/a.sock"}
	cases := map[string]struct {
		change func(*Options)
		want   string
	}{
		"a key with a blank": {func(o *Options) { o.Key = "a b" }, "device key"},
		"no key":             {func(o *Options) { o.Key = "" }, "device key"},
		"no listener":        {func(o *Options) { o.Listener = nil }, "no listener"},
		"no agent":           {func(o *Options) { o.AgentSocket = "" }, "no agent socket"},
		"default over max":   {func(o *Options) { o.SessionTimeout.Default = 2 * time.Hour }, "over the maximum"},
		"negative warm":      {func(o *Options) { o.Warm = -1 }, "-1 warm workers"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			o := good
			tc.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
	if _, err := New(good); err != nil {
		t.Errorf("good options: %v", err)
	}
}

func TestADirectClientThatLeftWhileItWaitedCostsNoSession(t *testing.T) {
	s := startServer(t, nil)
	first := s.dial(t)
	first.handshake("dev", 0)
	cmd := s.agent.next(supervise.OpSession)
	left := s.dial(t)
	left.write(tvm.AppendClientHello(nil, "dev", 0))
	_ = left.Close()
	stays := s.dial(t)
	stays.write(tvm.AppendClientHello(nil, "dev", 0))
	s.finishSession(cmd)
	served := s.agent.next(supervise.OpSession)
	if served.Session.Client != stays.LocalAddr().String() {
		// The door may have let the first one in before its end had arrived.
		_ = served.session.Close()
		s.agent.exited(served.Worker, supervise.Report{Cause: supervise.CauseCompleted})
		served = s.agent.next(supervise.OpSession)
	}
	if served.Session.Client != stays.LocalAddr().String() {
		t.Errorf("served %s, want %s", served.Session.Client, stays.LocalAddr())
	}
	s.finishSession(served)
}

// A client that has been let in is told, even if the server began to stop at
// that moment.
func TestAClientThatComesInAsTheServerStopsIsTold(t *testing.T) {
	nothing := func(*core) {}
	for name, tc := range map[string]struct{ before, after func(*core) }{
		"the server":  {func(c *core) { c.drained = true }, nothing},
		"the agent":   {func(c *core) { c.leaving = true }, nothing},
		"a new agent": {func(c *core) { c.current = &session{probe: &probe{}} }, nothing},
		"the server, while the client waits for an agent": {nothing, func(c *core) { c.drain(time.Now()) }},
		"the agent, while the client waits for a worker":  {nothing, func(c *core) { c.leaving = true }},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := tcp.Listen("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			o, err := Options{
				Key: "dev", Listener: listener, AgentSocket: "unused", Logger: quiet(), Flavour: tvm.FlavourC, DrainTimeout: time.Hour,
			}.defaulted()
			if err != nil {
				t.Fatal(err)
			}
			core := newCore(o, newTickets(), func(device) {})
			ts := &testServer{Server: &Server{options: o}}
			c := ts.dial(t)
			conn, err := listener.AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			_ = listener.Close()
			tc.before(core)
			core.begin(admitted{conn: conn, client: "c"}, time.Now())
			if core.early != nil { // until the probe is over
				core.current, core.drained = nil, true
				core.beginEarly(time.Now())
			}
			tc.after(core)
			core.settle(time.Now())
			if text := c.exception(tvm.FlavourC); text != "killed-drain: the server is stopping" {
				t.Errorf("client is told %q", text)
			}
			_ = c.Close()
			core.farewells.Wait()
		})
	}
}

// Between the claim of the ticket and the admission lies the answer of the
// handshake: who stops waits for that, so that the client is told, or was never
// let in.
func TestAServerThatStopsWaitsForTheClientThatHasTheTicket(t *testing.T) {
	s := startServer(t, nil)
	eventually(t, "the device is free", func() bool { return s.Ready() == nil })
	if _, err := s.tickets.Claim("dev"); err != nil {
		t.Fatal(err)
	}
	s.stop()
	eventually(t, "the server drains", func() bool {
		err := s.Ready()
		return err != nil && strings.Contains(err.Error(), "draining")
	})
	select {
	case <-s.core.done:
		t.Error("the server ended although a client is on its way in")
	default:
	}
	s.core.ticketLost()
	if err := s.wait(); err != nil {
		t.Error(err)
	}
}

// A program under test can stop the agent. A client that is let in after that
// does not wait for its whole timeout, and the device comes back.
func TestAnAgentThatTakesNoSessionIsGivenUp(t *testing.T) {
	s := startServer(t, nil)
	eventually(t, "the device is free", func() bool { return s.Ready() == nil })
	s.agent.deaf.Store(true)
	c := s.dial(t)
	c.handshake("dev", time.Hour)
	cmd := s.agent.next(supervise.OpSession)
	_ = cmd.session.Close()
	if text := c.exception(tvm.FlavourC); !strings.HasPrefix(text, "start-failed: ") || !strings.Contains(text, "given up") {
		t.Errorf("exception %q", text)
	}
	s.agent.deaf.Store(false)
	next := s.dial(t)
	next.handshake("dev", 0)
	s.finishSession(s.agent.next(supervise.OpSession))
}
