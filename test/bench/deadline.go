//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/workers/go/client"
)

// deadlineScenario measures how exactly a session is killed at its deadline, and
// whether all that it started is dead when its client is told.
type deadlineScenario struct {
	n       int
	timeout time.Duration
	grace   time.Duration
	servers int
}

const deadlineTarget = 50 * time.Millisecond

func (*deadlineScenario) name() string  { return "deadline" }
func (*deadlineScenario) about() string { return "how late a session is killed at its deadline" }
func (s *deadlineScenario) modest()     { s.n = 40 }
func (s *deadlineScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.n, "n", 100, "sessions of each kind")
	flags.DurationVar(&s.timeout, "timeout", 300*time.Millisecond, "what each client asks for")
	flags.DurationVar(&s.grace, "grace", 200*time.Millisecond, "time between SIGTERM and SIGKILL")
	flags.IntVar(&s.servers, "servers", 2, "servers, all of them busy at a time")
}

func (s *deadlineScenario) run(ctx context.Context, l *lab) error {
	tracker, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return err
	}
	for range s.servers {
		if _, err := l.serve(ctx, benchKey, tracker.addr, "--kill-grace", s.grace.String()); err != nil {
			return err
		}
	}
	for _, kind := range []struct {
		figure   string
		function string
		args     []any
		children int
		allowed  time.Duration // after the deadline
	}{
		{"endless loop", "test.spin", nil, 0, 0},
		{"sleep", "test.sleep", []any{3600.0}, 0, 0},
		{"stopped by SIGSTOP", "test.sigstop", nil, 0, s.grace},
		{"SIGTERM ignored, after the grace too", "test.ignore_sigterm", nil, 0, s.grace},
		{"three grandchildren in new sessions", "test.spin", nil, 3, s.grace},
	} {
		b := &deadlineBench{
			key: benchKey, timeout: s.timeout, allowed: kind.allowed, children: kind.children,
			function: kind.function, args: kind.args, floor: floor.addr,
		}
		if err := b.run(ctx, tracker.addr, s.servers, s.n); err != nil {
			return fmt.Errorf("%s: %w", kind.figure, err)
		}
		l.add(latencies("killed and told after the deadline, "+kind.figure, &b.late).
			above(&b.raw, fmt.Sprintf("a plain process asked over TCP to answer after %s: how late it is", s.timeout)).
			atMost(ofP99, (deadlineTarget+kind.allowed).Seconds()).
			noted("%d of %d sessions were told before their deadline", b.early, len(b.late.values)))
		l.add(number("processes alive when the client was told, "+kind.figure, count, float64(b.survivors)).atMost(ofValue, 0))
	}
	return nil
}

// deadlineBench runs sessions into their deadline.
type deadlineBench struct {
	key      string
	timeout  time.Duration
	allowed  time.Duration
	children int
	function string
	args     []any
	floor    string

	mu        sync.Mutex
	late      sample
	raw       sample
	early     int
	survivors int
}

func (b *deadlineBench) run(ctx context.Context, trackerAddr string, clients, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	for range clients {
		group.Go(func() error {
			c, err := newCustomer(ctx, trackerAddr, b.key)
			if err != nil {
				return err
			}
			defer c.close()
			for range max(1, n/clients) {
				if err := b.one(ctx, c); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error { return b.twin(ctx, max(1, n/clients)) })
	return group.Wait()
}

// one runs one session into its deadline.
func (b *deadlineBench) one(ctx context.Context, c *customer) error {
	g, err := c.grant(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	s, err := visitServer(ctx, g, b.timeout)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	pids, err := b.tree(ctx, s)
	if err != nil {
		return err
	}
	_, err = s.Call(ctx, b.function, b.args...)
	// A process that stops itself answers until all of its threads have, which
	// takes milliseconds where the cores are busy.
	for err == nil && time.Since(began) < 2*b.timeout {
		err = callOnce(ctx, s)
	}
	told := time.Now()
	if err == nil {
		return fmt.Errorf("%s: the session outlived its deadline", b.function)
	}
	if !errors.Is(err, client.ErrSessionTimeout) {
		return fmt.Errorf("%s until the deadline: %w, want a session timeout", b.function, err)
	}
	survivors := 0
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			survivors++
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.late.add(told.Sub(began) - b.timeout)
	b.survivors += survivors
	if told.Sub(began) < b.timeout {
		b.early++
	}
	return nil
}

// tree returns the process ids of the session's worker and of all that it was
// made to start.
func (b *deadlineBench) tree(ctx context.Context, s *client.Session) ([]int, error) {
	pid, err := s.Call(ctx, "test.pid")
	if err != nil {
		return nil, fmt.Errorf("worker's process id: %w", err)
	}
	texts := []string{fmt.Sprint(pid)}
	if b.children > 0 {
		children, err := s.Call(ctx, "test.grandchildren", b.children)
		if err != nil {
			return nil, fmt.Errorf("grandchildren: %w", err)
		}
		texts = append(texts, strings.Split(fmt.Sprint(children), ",")...)
	}
	pids := make([]int, len(texts))
	for i, text := range texts {
		if pids[i], err = strconv.Atoi(text); err != nil {
			return nil, fmt.Errorf("process id: %w", err)
		}
	}
	return pids, nil
}

// twin asks the floor to answer after the timeout, and measures how late it is.
func (b *deadlineBench) twin(ctx context.Context, n int) error {
	p, err := dialPeer(ctx, b.floor)
	if err != nil {
		return err
	}
	defer p.close()
	for range n {
		began := time.Now()
		if _, err := p.exchange(floorLater(64, 64, b.timeout), 64); err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		took := time.Since(began)
		b.mu.Lock()
		b.raw.add(took - b.timeout)
		b.mu.Unlock()
	}
	return nil
}
