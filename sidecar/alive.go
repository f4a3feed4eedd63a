package sidecar

import (
	"fmt"
	"sync"
	"time"
)

// stalledAfter is how long a turn of a loop may take. No turn waits for anything
// but a few system calls, so a loop that is silent for longer hangs.
const stalledAfter = 10 * time.Second

// pulse tells whether a loop still turns. Whoever wants to know leaves a value in
// beat, which the loop takes at its next turn; nobody waits.
type pulse struct {
	beat chan struct{} // holds one value that the loop has not taken yet

	mu    sync.Mutex
	asked time.Time // when it was left there
}

func newPulse() *pulse { return &pulse{beat: make(chan struct{}, 1)} }

// check returns an error if the loop has not taken a turn for [stalledAfter]
// since it was asked.
func (p *pulse) check(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.beat <- struct{}{}:
		p.asked = now
		return nil
	default:
	}
	if silent := now.Sub(p.asked); silent >= stalledAfter {
		return fmt.Errorf("the server's loop hangs: no turn for %s", silent.Round(time.Second))
	}
	return nil
}

// Alive returns nil unless the process is of no use any more, so that only a new
// one helps: its core hangs, or it cannot accept clients. A quarantined device
// or an agent that is away is no such case. It does not wait: a core that hangs
// is found out by asking again.
func (s *Server) Alive() error {
	if err := s.doorFailure(); err != nil {
		return fmt.Errorf("no client can connect: %w", err)
	}
	return s.core.pulse.check(s.now())
}

// AgentAlive returns nil while there is an agent that answers. One that does not
// is to be started again by whoever runs its container; the device is not offered
// meanwhile.
func (s *Server) AgentAlive() error {
	if s.core.away.Load() {
		return fmt.Errorf("no agent answers at %s", s.options.AgentSocket)
	}
	return nil
}

// Ready returns nil while the device is offered or in a session, else why not:
// a free device is offered once the tracker has its ticket. (Without a tracker
// it is as soon as it is free.)
func (s *Server) Ready() error {
	switch d := s.device(); {
	case d.session != "":
		return nil
	case d.state != stateFree:
		return fmt.Errorf("device is %s: %s", d.state, d.reason)
	case s.options.Tracker == "":
		return nil
	}
	if err := s.offer.offered(); err != nil {
		return fmt.Errorf("device is free, but not offered: tracker %s: %w", s.options.Tracker, err)
	}
	return nil
}

// device is what the core last said.
func (s *Server) device() device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published
}
