package sidecar

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
)

// oldSession is a session that an earlier sidecar began: its client, and the
// descriptor that the agent has.
func oldSession(t *testing.T) (c *client, socket *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = conn.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	socket, err = accepted.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return &client{TCPConn: conn.(*net.TCPConn), t: t}, socket
}

var oldSpec = supervise.Session{ID: "s1", Client: "10.0.0.1:1", Timeout: time.Minute, Memo: `{"flavour":"A","clamped":true}`}

// oldAgent is an agent with that session in progress, and its client.
func oldAgent(t *testing.T) (*scriptedAgent, *client) {
	t.Helper()
	agent := newScriptedAgent(t)
	c, socket := oldSession(t)
	agent.set(func(a *scriptedAgent) {
		a.hello.Workers = []supervise.HelloWorker{{ID: "old-1", State: supervise.StateBusy, Session: &oldSpec, Age: time.Second}}
		a.afterHello = func(conn *supervise.Conn) {
			_ = conn.Send(supervise.Event{Kind: supervise.EventAdopt, Worker: "old-1", Session: &oldSpec}, int(socket.Fd()))
			_ = socket.Close()
		}
	})
	return agent, c
}

func TestTheClientOfAnAdoptedSessionIsToldHowItEnded(t *testing.T) {
	agent, c := oldAgent(t)
	s := startServerOver(t, agent, nil)
	eventually(t, "the device is busy", func() bool { return s.Ready() == nil })
	agent.send(supervise.Event{
		Kind: supervise.EventExited, Seq: 5, Worker: "old-1", Session: &oldSpec,
		Report: &supervise.Report{Cause: supervise.CauseTimeout, Limit: supervise.LimitSession, Code: -1},
	})
	want := tvm.SessionTimeoutPrefix + "session killed after 1m0s, the server's maximum"
	if text := c.exception(tvm.FlavourA); text != want {
		t.Errorf("exception %q, want %q in the flavour of its time", text, want)
	}
	eventually(t, "the end is acknowledged", func() bool { return agent.acks.Load() > 0 })
}

func TestTheClientOfAnAdoptedSessionIsWatched(t *testing.T) {
	agent, c := oldAgent(t)
	startServerOver(t, agent, nil)
	_ = c.Close()
	kill := agent.next(supervise.OpKill)
	if kill.Worker != "old-1" || kill.Kill.Cause != supervise.CauseClientGone {
		t.Errorf("%s is killed for %s", kill.Worker, kill.Kill.Cause)
	}
	agent.exited("old-1", supervise.Report{Cause: supervise.CauseClientGone})
}

func TestASessionThatEndedWithoutASidecarIsOnRecordAndItsClientTold(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	agent := newScriptedAgent(t)
	c, socket := oldSession(t)
	agent.set(func(a *scriptedAgent) {
		a.afterHello = func(conn *supervise.Conn) {
			_ = conn.Send(supervise.Event{
				Kind: supervise.EventExited, Seq: 1, Worker: "old-1", Session: &oldSpec,
				Report: &supervise.Report{Cause: supervise.CauseCrashExit, Code: 3, Wall: time.Second},
			}, int(socket.Fd()))
			_ = socket.Close()
		}
	})
	startServerOver(t, agent, func(o *Options) { o.Metrics = m })
	if text := c.exception(tvm.FlavourA); text != "crash-exit: exit status 3" {
		t.Errorf("exception %q", text)
	}
	eventually(t, "the session is counted, once", func() bool {
		return testutil.ToFloat64(m.ends.WithLabelValues("dev", "crash-exit")) == 1
	})
	eventually(t, "the end is acknowledged", func() bool { return agent.acks.Load() > 0 })
}

func TestADeviceWhoseAgentIsToldToStopIsWithdrawn(t *testing.T) {
	s := startServer(t, nil)
	eventually(t, "the device is free", func() bool { return s.Ready() == nil })
	s.agent.send(supervise.Event{Kind: supervise.EventStopping})
	eventually(t, "the device is withdrawn", func() bool {
		err := s.Ready()
		return err != nil && strings.Contains(err.Error(), "draining")
	})
}

func TestAContainerThatDiesAsOneForLackOfMemoryIsToldFromACrash(t *testing.T) {
	cases := map[string]struct {
		session session
		kills   uint64
		known   bool
		limit   int64
		want    supervise.Cause
	}{
		"the kernel killed meanwhile":      {session{oomBefore: 3, oomKnown: true}, 5, true, 1 << 30, supervise.CauseOOM},
		"the container has no limit":       {session{oomBefore: 3, oomKnown: true}, 5, true, 0, supervise.CauseCrashSignal},
		"it did not":                       {session{oomBefore: 3, oomKnown: true}, 3, true, 1 << 30, supervise.CauseCrashSignal},
		"nobody knows":                     {session{oomBefore: 3, oomKnown: true}, 0, false, 1 << 30, supervise.CauseCrashSignal},
		"nobody knew when it began":        {session{}, 5, true, 1 << 30, supervise.CauseCrashSignal},
		"the agent was given up before":    {session{oomKnown: true, overdue: supervise.CauseTimeout}, 5, true, 1 << 30, supervise.CauseTimeout},
		"the agent was given up in a kill": {session{overdue: supervise.CauseClientGone}, 0, false, 0, supervise.CauseClientGone},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := c.session.lostAgent(c.kills, c.known, c.limit)
			if r.Cause != c.want || r.Error == "" || (r.Limit == supervise.LimitMemory) != (c.want == supervise.CauseOOM) {
				t.Errorf("report %+v, want %s", r, c.want)
			}
		})
	}
}

func TestALongLivedWorkerServesOneClientAfterAnother(t *testing.T) {
	s := startServer(t, func(o *Options) { o.Isolation = IsolationWatchdog })
	var worker string
	for i := range 3 {
		c := s.dial(t)
		c.handshake("dev", 0)
		cmd := s.agent.next(supervise.OpSession)
		if i == 0 {
			worker = cmd.Worker
		}
		if cmd.Worker != worker {
			t.Errorf("session %d went to %s, want %s", i, cmd.Worker, worker)
		}
		_ = cmd.session.Close()
		s.agent.send(supervise.Event{
			Kind: supervise.EventEnded, Seq: uint64(i + 1), Worker: cmd.Worker, Session: cmd.Session,
			Report: &supervise.Report{Cause: supervise.CauseCompleted},
		})
		if rest := c.rest(); len(rest) > 0 {
			t.Errorf("session %d ended with % x", i, rest)
		}
	}
}

func TestALongLivedWorkerThatFailsTheProbeIsReplacedWithPauses(t *testing.T) {
	agent := newScriptedAgent(t) // whose workers speak flavour C
	s := startServerOver(t, agent, func(o *Options) {
		o.Isolation, o.Flavour, o.Quarantine.Failures = IsolationWatchdog, tvm.FlavourA, 2
	})
	seen := map[string]bool{}
	for range 2 {
		kill := agent.next(supervise.OpKill)
		if seen[kill.Worker] {
			t.Errorf("worker %s was asked again", kill.Worker)
		}
		seen[kill.Worker] = true
		agent.exited(kill.Worker, supervise.Report{Cause: supervise.CauseKilledDrain})
	}
	eventually(t, "quarantine, with the reason", func() bool {
		err := s.Ready()
		return err != nil && strings.Contains(err.Error(), "quarantined") && strings.Contains(err.Error(), "flavour C, not A")
	})
}
