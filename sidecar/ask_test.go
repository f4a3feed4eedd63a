package sidecar

import (
	"testing"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

func TestAnAgentOwesAnAnswerOnlyIfItWasAsked(t *testing.T) {
	a := asking{every: 5 * time.Second, within: 10 * time.Second}
	now := time.Unix(1000, 0)
	a.hear(now)
	for _, step := range []struct {
		what      string
		wait      time.Duration
		ask, hung bool
		next      time.Duration
	}{
		{"it has just spoken", 0, false, false, 5 * time.Second},
		{"it has been silent for almost long enough", 5*time.Second - 1, false, false, 1},
		{"now it is to be asked", 1, true, false, 10 * time.Second},
		{"once", 0, false, false, 10 * time.Second},
		{"it has some time left", 10*time.Second - 1, false, false, 1},
		{"and now none", 1, false, true, 0},
	} {
		now = now.Add(step.wait)
		ask, hung := a.due(now)
		if ask {
			a.asked = now
		}
		if next := a.next().Sub(now); ask != step.ask || hung != step.hung || next != step.next {
			t.Errorf("%s: ask %t, hung %t, next in %s; want %t, %t, %s", step.what, ask, hung, next, step.ask, step.hung, step.next)
		}
	}
	a.hear(now)
	if ask, hung := a.due(now.Add(time.Second)); ask || hung {
		t.Errorf("after a word, though late: ask %t, hung %t", ask, hung)
	}
}

// asksSoon makes a server that is impatient with idle agents.
func asksSoon(s *Server) {
	s.core.asking.every, s.core.asking.within = 5*time.Millisecond, 50*time.Millisecond
}

func TestAnIdleAgentThatHangsIsGivenUpBeforeAnyClientComes(t *testing.T) {
	agent := newScriptedAgent(t)
	s, _ := startHooked(t, agent, asksSoon)
	eventually(t, "the agent has answered some questions", func() bool { return agent.pongs.Load() >= 3 })
	if err := s.AgentAlive(); err != nil {
		t.Errorf("with an agent that answers: %v", err)
	}
	agent.mute.Store(true)
	select {
	case <-s.core.hung:
	case <-time.After(patience):
		t.Fatal("whoever runs the agent was not told")
	}
	agent.mute.Store(false)
	asked := agent.pongs.Load()
	eventually(t, "its successor is asked in its turn", func() bool { return agent.pongs.Load() > asked && s.AgentAlive() == nil })
}

func TestAnAgentAtWorkIsNotAsked(t *testing.T) {
	agent := newScriptedAgent(t)
	server, _ := startHooked(t, agent, asksSoon)
	s := &testServer{Server: server, agent: agent}
	eventually(t, "free", func() bool { return s.device().state == stateFree })
	s.dial(t).handshake("dev", 0)
	cmd := agent.next(supervise.OpSession)
	agent.mute.Store(true) // it may be slow while a worker takes all there is
	select {
	case <-s.core.hung:
		t.Error("an agent with a session is given up for not answering a question")
	case <-time.After(200 * time.Millisecond): // four times what an idle one has
	}
	s.finishSession(cmd)
}

func TestAnAgentThatIsAwayIsNotAlive(t *testing.T) {
	agent := newScriptedAgent(t)
	_ = agent.listener.Close()
	s, _ := startHooked(t, agent, asksSoon)
	if err := s.AgentAlive(); err == nil {
		t.Error("nobody listens at the socket, and the agent is alive")
	}
}
