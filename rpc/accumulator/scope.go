package accumulator

import "time"

// Scope is a measurement that is going on; the zero value is none.
type Scope struct {
	timer *TimerWriter // nil: none
	start time.Duration
}

// Start begins to measure, if scope timers are on ([Client.SetScopeTimers]).
//
//	defer timer.Start().Stop()
func (w *TimerWriter) Start() Scope {
	if w != nil && w.client.scopes.Load() {
		return w.begin()
	}
	return Scope{}
}

//go:noinline
func (w *TimerWriter) begin() Scope { return Scope{w, time.Since(w.client.epoch)} }

// Stop ends the measurement and adds it to the timer.
func (s Scope) Stop() {
	if s.timer != nil {
		s.timer.end(s.start)
	}
}

//go:noinline
func (w *TimerWriter) end(start time.Duration) { w.Observe(time.Since(w.client.epoch) - start) }

// SetScopeTimers turns scope timers on or off. A scope that has begun is measured.
func (c *Client) SetScopeTimers(on bool) { c.scopes.Store(on) }
