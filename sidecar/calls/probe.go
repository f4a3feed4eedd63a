package calls

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"rpcpool.dev/rpc/workers"
)

// stalledAfter is how long the core's lock may be held: nothing waits under it.
const stalledAfter = 10 * time.Second

// pulse tells whether something that should not wait still returns.
type pulse struct {
	mu    sync.Mutex
	asked time.Time // zero: nobody waits for an answer
}

// check returns an error if what ask does has not returned for [stalledAfter]. It does
// not wait: what hangs is found out by asking again.
func (p *pulse) check(now time.Time, ask func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked.IsZero() {
		p.asked = now
		go func() {
			ask()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.asked = time.Time{}
		}()
	}
	if silent := now.Sub(p.asked); silent >= stalledAfter {
		return fmt.Errorf("the server's core hangs: silent for %s", silent.Round(time.Second))
	}
	return nil
}

// Alive returns nil unless only a new process helps.
func (s *Server) Alive() error {
	return s.pulse.check(time.Now(), func() { s.core.Counts() })
}

// Ready returns nil while at least one worker serves, the journal can be written, and the
// server is not told to stop; else why not.
func (s *Server) Ready() error {
	if s.draining.Load() {
		return errors.New("the server drains")
	}
	if err := s.core.Broken(); err != nil {
		return err //nolint:wrapcheck // it names the journal
	}
	status := s.pool.Status()
	switch {
	case serves(&status):
		return nil
	case status.Err != nil && status.CrashLoop:
		return fmt.Errorf("no worker serves, they end before they do: %w", status.Err)
	case status.Err != nil:
		return fmt.Errorf("no worker serves: %w", status.Err)
	}
	return errors.New("no worker serves yet")
}

// serves tells whether any worker does.
func serves(s *workers.Status) bool {
	return slices.ContainsFunc(s.States, func(state workers.State) bool { return state == workers.Ready || state == workers.Busy })
}
