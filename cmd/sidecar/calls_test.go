package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestAServerStopsWithItsAgent, and then waits to be told itself, but not for ever.
func TestAServerStopsWithItsAgent(t *testing.T) {
	broken := errors.New("it cannot listen")
	for name, c := range map[string]struct {
		agent, self time.Duration // when each is told to stop; 0: never
		drain       time.Duration // what the server takes then
		fails       error
		took        time.Duration
	}{
		"its agent is told first, then it": {agent: time.Second, self: 4 * time.Second, drain: time.Second, took: 4 * time.Second},
		"it is told while it drains":       {agent: time.Second, self: 2 * time.Second, drain: 5 * time.Second, took: 6 * time.Second},
		"its agent alone is told":          {agent: time.Second, drain: time.Second, took: 2*time.Second + endTime},
		"it alone is told":                 {self: time.Second, drain: time.Second, took: 2 * time.Second},
		"it fails":                         {fails: broken},
		"it fails while it drains":         {agent: time.Second, drain: time.Second, fails: broken, took: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				agent := make(chan struct{})
				if c.agent > 0 {
					time.AfterFunc(c.agent, func() { close(agent) })
				}
				if c.self > 0 {
					time.AfterFunc(c.self, stop)
				}
				begun := time.Now()
				err := untilStopped(ctx, agent, func(ctx context.Context) error {
					if c.took > 0 {
						<-ctx.Done()
						time.Sleep(c.drain) // of the test's clock
					}
					return c.fails
				})
				if took := time.Since(begun); !errors.Is(err, c.fails) || took != c.took {
					t.Errorf("%v after %v, want %v after %v", err, took, c.fails, c.took)
				}
			})
		})
	}
}
