package sidecar

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// runServer runs a server until the test ends or stop is called, which returns
// what Run did.
func runServer(t *testing.T, s *Server) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("does not end")
		}
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// runTracker runs a tracker on addr until the test ends or stop is called.
func runTracker(t *testing.T, addr string) (s *tracker.Server, at string, stop func()) {
	t.Helper()
	l, err := tcp.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	s = tracker.NewServer(tracker.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Errorf("tracker: %v", err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return s, l.Addr().String(), stop
}

// status waits until the only server of the tracker is as it should be.
func status(t *testing.T, s *tracker.Server, want tracker.State) tracker.ServerStatus {
	t.Helper()
	var list []tracker.ServerStatus
	eventually(t, "the server is "+string(want), func() bool {
		list = s.ServersOf("dev")
		return len(list) == 1 && list[0].State == want
	})
	return list[0]
}

// The tracker's machine dies, and another one takes over its address: whoever is
// in a session is known there as busy, with its client, and is ready all the
// time; whoever is free is offered under a new ticket.
func TestServersFindTheNextTracker(t *testing.T) {
	first, addr, kill := runTracker(t, "127.0.0.1:0")
	listener, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	agent := newScriptedAgent(t)
	s, err := New(Options{
		Key: "dev", Listener: listener, AgentSocket: agent.path, Logger: quiet(), Command: []string{"worker"}, Warm: 1,
		Tracker: addr, Name: "rk-0", Instance: "uid-0",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.offer.poll = time.Hour // so that it is not the poll that notices
	runServer(t, s)
	ts := &testServer{Server: s, agent: agent}

	free := status(t, first, tracker.StateFree)
	if free.Name != "rk-0" || free.Instance != "uid-0" || free.Host != "127.0.0.1" || free.Client != "" {
		t.Errorf("free: %+v", free)
	}
	eventually(t, "it is ready", func() bool { return s.Ready() == nil })
	kill()
	eventually(t, "nobody offers it", func() bool { return s.Ready() != nil })
	second, _, kill := runTracker(t, addr)
	status(t, second, tracker.StateFree)
	eventually(t, "it is offered again", func() bool { return s.Ready() == nil })

	asking, err := tracker.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	grant, err := asking.Request(t.Context(), "dev", 1)
	if err = errors.Join(err, asking.Close()); err != nil {
		t.Fatal(err)
	}
	c := ts.dial(t)
	c.handshake(grant.MatchKey, 0)
	cmd := agent.next(supervise.OpSession)
	before := status(t, second, tracker.StateBusy)
	kill()
	third, _, _ := runTracker(t, addr)
	after := status(t, third, tracker.StateBusy)
	client := c.LocalAddr().String()
	if before.Session == "" || after.Session != before.Session || before.Client != client || after.Client != client {
		t.Errorf("in a session of %s: %+v, then %+v", client, before, after)
	}
	if err := s.Ready(); err != nil {
		t.Errorf("in a session, and not ready: %v", err)
	}
	ts.finishSession(cmd)
	status(t, third, tracker.StateFree)
}

// Whichever of the two is told to stop first, nobody waits for an agent that does
// not come back.
func TestNobodyWaitsForAnAgentThatWillNotComeBack(t *testing.T) {
	for name, order := range map[string][]string{
		"the agent, which ends, then the sidecar":    {"agent stops", "agent gone", "sidecar stops"},
		"the agent, then the sidecar":                {"agent stops", "sidecar stops", "agent gone"},
		"the sidecar, then the agent":                {"sidecar stops", "agent stops", "agent gone"},
		"the sidecar, whose agent is killed":         {"sidecar stops", "agent gone"},
		"the sidecar, whose agent was killed before": {"agent gone", "sidecar stops"},
	} {
		t.Run(name, func(t *testing.T) {
			agent := newScriptedAgent(t)
			s := startServerOver(t, agent, func(o *Options) { o.DrainTimeout, o.StartTimeout = time.Hour, time.Hour })
			c := s.dial(t)
			c.handshake("dev", 0)
			_ = agent.next(supervise.OpSession).session.Close()
			for _, step := range order {
				switch step {
				case "agent stops":
					agent.send(supervise.Event{Kind: supervise.EventStopping})
				case "agent gone":
					_ = agent.listener.Close()
					agent.disconnect()
				case "sidecar stops":
					s.stop()
				}
			}
			if err := s.wait(); err != nil {
				t.Error(err)
			}
			if text := c.exception(tvm.FlavourC); text == "" {
				t.Error("the client is not told")
			}
		})
	}
}
