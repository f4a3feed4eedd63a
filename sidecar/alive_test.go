package sidecar

import (
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/sidecar/supervise"
)

// handClock is a clock that the test moves.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// startHooked is startServer with a change to the server before it runs.
func startHooked(t *testing.T, agent *scriptedAgent, change func(*Server)) (s *Server, stop func() error) {
	t.Helper()
	listener, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err = New(Options{
		Key: "dev", Listener: listener, AgentSocket: agent.path, Logger: quiet(), Command: []string{"worker"},
		Warm: 1, DrainTimeout: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	change(s)
	return s, runServer(t, s)
}

func TestPulse(t *testing.T) {
	now := time.Unix(0, 0)
	p := newPulse()
	for _, step := range []struct {
		what  string
		wait  time.Duration
		turn  bool // the loop takes a turn first
		alive bool
	}{
		{"asked for the first time", 0, false, true},
		{"just not long enough", stalledAfter - 1, false, true},
		{"silent", 1, false, false},
		{"still silent", time.Hour, false, false},
		{"it turns again", 0, true, true},
		{"not asked for long, which is no silence", 24 * time.Hour, true, true},
		{"silent again", stalledAfter, false, false},
	} {
		now = now.Add(step.wait)
		if step.turn {
			<-p.beat
		}
		if err := p.check(now); (err == nil) != step.alive {
			t.Errorf("%s: %v", step.what, err)
		}
	}
}

func TestACoreThatHangsIsNotAlive(t *testing.T) {
	clock := &handClock{}
	wedged, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s, _ := startHooked(t, newScriptedAgent(t), func(s *Server) {
		s.now = clock.Now
		s.core.publish = func(d device) {
			s.publish(d)
			if d.state == stateFree {
				once.Do(func() { close(wedged); <-release })
			}
		}
	})
	defer close(release)
	<-wedged
	if err := s.Alive(); err != nil {
		t.Fatalf("asked for the first time: %v", err)
	}
	clock.advance(stalledAfter)
	if err := s.Alive(); err == nil || !strings.Contains(err.Error(), "hangs") {
		t.Errorf("error %v, want that the loop hangs", err)
	}
	if err := s.Ready(); err != nil {
		t.Errorf("readiness is another question: %v", err)
	}
}

// Neither is cured by a restart.
func TestAServerWithoutAgentOrDeviceIsAlive(t *testing.T) {
	clock := &handClock{}
	agent := newScriptedAgent(t)
	agent.set(func(a *scriptedAgent) { a.fail = 1 << 30 })
	s, _ := startHooked(t, agent, func(s *Server) { s.now = clock.Now; s.core.crew = supervise.NewCrew(hasty(), "w") })
	alive := func() {
		t.Helper()
		for range 3 { // each asks, and the loop has to have answered the one before
			if err := s.Alive(); err != nil {
				t.Errorf("not alive: %v", err)
			}
			eventually(t, "a turn", func() bool { return len(s.core.pulse.beat) == 0 })
			clock.advance(time.Hour)
		}
	}
	eventually(t, "quarantined", func() bool { return s.device().state == stateQuarantined })
	if s.Ready() == nil {
		t.Error("a quarantined device is ready")
	}
	alive()
	_ = agent.listener.Close()
	agent.disconnect()
	eventually(t, "no agent", func() bool { return strings.Contains(s.device().reason, "agent") })
	if s.Ready() == nil {
		t.Error("a device without agent is ready")
	}
	alive()
}

// hasty is a policy that quarantines at once.
func hasty() supervise.Policy {
	return supervise.Policy{
		Warm: 1, BackoffMin: time.Millisecond, BackoffMax: time.Millisecond, QuarantineFailures: 1, QuarantineWindow: time.Hour,
	}
}

func TestAServerThatCannotAcceptIsNotAlive(t *testing.T) {
	agent := newScriptedAgent(t)
	s, stop := startHooked(t, agent, func(*Server) {})
	ts := &testServer{Server: s, agent: agent}
	c := ts.dial(t)
	c.handshake("dev", 0)
	cmd := agent.next(supervise.OpSession)
	if err := s.Alive(); err != nil {
		t.Fatal(err)
	}
	_ = s.options.Listener.Close()
	eventually(t, "not alive", func() bool { return s.Alive() != nil })
	if err := s.Alive(); !strings.Contains(err.Error(), "accept") {
		t.Errorf("error %v, want one about accept", err)
	}
	ts.finishSession(cmd) // which it lets finish all the same
	if err := stop(); err == nil {
		t.Error("the server ended without saying why")
	}
}
