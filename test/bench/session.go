//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"time"
)

// sessionScenario measures how soon a client that was granted a device has the
// answer to its first call: with a warm spare worker and with a cold one.
type sessionScenario struct{ n int }

const (
	sessionTarget  = 3 * time.Millisecond
	turnOverTarget = 100 * time.Millisecond
	breather       = 20 * time.Millisecond // in which an idle server has all that it prepares
)

func (*sessionScenario) name() string { return "session" }
func (*sessionScenario) about() string {
	return "grant to the answer of the first call; session to session"
}
func (s *sessionScenario) modest() { s.n = 150 }
func (s *sessionScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.n, "n", 500, "sessions of each kind")
}

func (s *sessionScenario) run(ctx context.Context, l *lab) error {
	tracker, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name  string
		pause time.Duration
		warm  string
		limit time.Duration
	}{
		{"warm spare", breather, "1", sessionTarget},
		{"warm spare, session after session", 0, "1", 0},
		{"cold worker", breather, "0", 0},
	} {
		key := benchKey + kind.warm
		if kind.pause > 0 {
			if _, err := l.serve(ctx, key, tracker.addr, "--warm", kind.warm); err != nil {
				return err
			}
		}
		b := &sessionBench{key: key, pause: kind.pause, floor: floor.addr}
		if err := b.run(ctx, tracker.addr, s.n); err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
		first := latencies("grant → first call answered, "+kind.name, &b.first).above(&b.raw, rawSessionIs)
		if kind.limit > 0 {
			first.atMost(ofP50, kind.limit.Seconds())
		}
		l.add(first)
		if kind.pause == 0 {
			l.add(latencies("session closed → device granted again", &b.again).atMost(ofP50, turnOverTarget.Seconds()))
			l.add(latencies("session closed → next session's first call answered", &b.turn).above(&b.raw, rawSessionIs))
		}
	}
	return nil
}

// sessionBench makes sessions one after another on one server.
type sessionBench struct {
	key   string
	pause time.Duration
	floor string
	first sample // grant → first call answered
	again sample // close → next grant
	turn  sample // close → next first call answered
	raw   sample

	beside func() error // after each session; nil: nothing
}

func (b *sessionBench) run(ctx context.Context, trackerAddr string, n int) error {
	c, err := newCustomer(ctx, trackerAddr, b.key)
	if err != nil {
		return err
	}
	defer c.close()
	var closed time.Time
	for i := range n + 3 { // the first few warm up
		if i == 3 {
			b.first, b.again, b.turn = sample{}, sample{}, sample{}
		}
		if closed, err = b.one(ctx, c, closed); err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
	}
	return nil
}

// one makes one session and returns when it was closed.
func (b *sessionBench) one(ctx context.Context, c *customer, last time.Time) (time.Time, error) {
	g, err := c.grant(ctx)
	if err != nil {
		return last, err
	}
	granted := time.Now()
	s, err := visitServer(ctx, g, 0)
	if err != nil {
		return last, err
	}
	answered := time.Now()
	b.first.add(answered.Sub(granted))
	if !last.IsZero() {
		b.again.add(granted.Sub(last))
		b.turn.add(answered.Sub(last))
	}
	raw, err := rawSession(ctx, b.floor, b.key)
	if err != nil {
		return last, err
	}
	b.raw.add(raw)
	if b.beside != nil {
		if err := b.beside(); err != nil {
			return last, err
		}
	}
	time.Sleep(b.pause / 2)
	closed := time.Now()
	if err := s.Close(); err != nil {
		return last, fmt.Errorf("close: %w", err)
	}
	time.Sleep(b.pause)
	return closed, nil
}
