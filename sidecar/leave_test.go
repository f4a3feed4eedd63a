package sidecar

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// TestASessionThatHasDrainedBeforeIsNotGivenTheTimeAgain when its pod is deleted for
// that: the agent, which is told first, does not know of the time before.
func TestASessionThatHasDrainedBeforeIsNotGivenTheTimeAgain(t *testing.T) {
	const timeout = time.Hour
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		said string // in the file
		want time.Time
	}{
		"an hour ago":               {"2026-03-01T11:00:00Z\n", now},
		"more than that":            {"2026-03-01T12:30:00+02:00", now.Add(-30 * time.Minute)},
		"half an hour ago":          {"2026-03-01T11:30:00Z", now.Add(30 * time.Minute)},
		"it did not drain":          {"", time.Time{}},
		"what is said is no time":   {"an hour ago", time.Time{}},
		"by a clock that is faster": {"2026-03-01T12:00:02Z", now.Add(timeout + 2*time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "draining")
			if err := os.WriteFile(file, []byte(c.said), 0o600); err != nil {
				t.Fatal(err)
			}
			core := newCore(Options{DrainTimeout: timeout, DrainingFile: file, Logger: quiet()}, newTickets(), func(device) {})
			core.current = &session{handed: now}
			core.event(supervise.Event{Kind: supervise.EventStopping}, now)
			if at, why := core.killTime(); !at.Equal(c.want) || !at.IsZero() && why != supervise.CauseKilledDrain {
				t.Errorf("killed at %s for %q, want %s", at, why, c.want)
			}
			// The end of the sidecar itself does not put it off.
			core.drain(now)
			if at, _ := core.killTime(); !c.want.IsZero() && !at.Equal(c.want) {
				t.Errorf("put off to %s", at)
			}
		})
	}
}

func TestASessionWhoseDrainIsOverIsKilledWhenTheAgentStops(t *testing.T) {
	file := filepath.Join(t.TempDir(), "draining")
	if err := os.WriteFile(file, []byte("2026-03-01T11:00:00Z"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, func(o *Options) { o.DrainTimeout, o.DrainingFile = time.Hour, file })
	c := s.dial(t)
	c.handshake("dev", 0)
	cmd := s.agent.next(supervise.OpSession)
	s.agent.send(supervise.Event{Kind: supervise.EventStopping})
	if kill := s.agent.next(supervise.OpKill); kill.Worker != cmd.Worker || kill.Kill.Cause != supervise.CauseKilledDrain {
		t.Errorf("killed: %s for %s", kill.Worker, kill.Kill.Cause)
	}
	_ = cmd.session.Close()
	s.agent.exited(cmd.Worker, supervise.Report{Cause: supervise.CauseKilledDrain})
}
