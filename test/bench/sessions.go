//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/workers/go/client"
)

// sessionsScenario runs thousands of sessions, some of which crash, and looks
// for what they leave behind.
type sessionsScenario struct {
	n       int
	servers int
	crashes float64
}

const (
	settleLimit = 15 * time.Second
	warmUps     = 20 // sessions of each server before the first look
)

func (*sessionsScenario) name() string { return "sessions" }
func (*sessionsScenario) about() string {
	return "thousands of sessions in a row, some crashing: what is left behind"
}
func (*sessionsScenario) modest() {}
func (s *sessionsScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.n, "n", 10000, "sessions")
	flags.IntVar(&s.servers, "servers", 4, "servers")
	flags.Float64Var(&s.crashes, "crashes", 0.05, "share of the sessions whose worker crashes")
}

func (s *sessionsScenario) run(ctx context.Context, l *lab) error {
	tracker, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return err
	}
	servers := make([]*server, s.servers)
	for i := range servers {
		if servers[i], err = l.serve(ctx, benchKey, tracker.addr); err != nil {
			return err
		}
	}
	runs := &manySessions{tracker: tracker.addr, clients: s.servers, crashes: s.crashes}
	if err := runs.run(ctx, warmUps*s.servers); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	if err := footprint(ctx, l, tracker); err != nil {
		return err
	}
	runs = &manySessions{tracker: tracker.addr, clients: s.servers, crashes: s.crashes}
	trackers := []*service{tracker}
	before, err := settled(ctx, settleLimit, nil, trackers, servers)
	if err != nil {
		return err
	}
	stopAmbient, ambient := ambientFloor(ctx, floor.addr)
	began := time.Now()
	if err := runs.run(ctx, s.n); err != nil {
		return err
	}
	took := time.Since(began)
	stopAmbient()
	after, err := settled(ctx, settleLimit, &before, trackers, servers)
	if err != nil {
		return err
	}
	what := thousands(float64(s.n)) + " sessions"
	l.add(number(fmt.Sprintf("%s on %d servers, one client each", what, s.servers), perSecond, float64(s.n)/took.Seconds()).
		noted("%d crashed on purpose; memory of tracker, servers and agents %.1f MiB before, %.1f MiB after",
			runs.crashed.Load(), before.resident/(1<<20), after.resident/(1<<20)))
	l.add(number("sessions lost", count, float64(runs.lost.Load())).atMost(ofValue, 0).noted("%s", runs.firstLoss()))
	for _, r := range leakRows(before, after, what) {
		l.add(r)
	}
	l.add(latencies("raw TCP ping-pong meanwhile", ambient()))
	return nil
}

// manySessions is a number of clients that make short sessions, some of which
// crash on purpose. A session that fails in any other way is lost.
type manySessions struct {
	tracker string
	clients int
	crashes float64
	hold    time.Duration // how long each session works
	visits  *deviceLog    // of who was where when; nil: not kept

	crashed atomic.Int64
	lost    atomic.Int64
	mu      sync.Mutex
	loss    error // the first
}

func (m *manySessions) firstLoss() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loss == nil {
		return ""
	}
	return "the first: " + m.loss.Error()
}

// run makes n sessions. Those lost are counted, and not made again.
func (m *manySessions) run(ctx context.Context, n int) error {
	var started atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range m.clients {
		group.Go(func() error {
			c, err := newCustomer(ctx, m.tracker, benchKey)
			if err != nil {
				return err
			}
			defer c.close()
			for {
				i := started.Add(1)
				if i > int64(n) {
					return nil
				}
				if err := m.one(ctx, c, m.mustCrash(int(i))); err != nil {
					m.lose(err)
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
		})
	}
	return group.Wait()
}

// mustCrash spreads the crashes evenly: the i-th session crashes if the number
// of crashes due grows with it.
func (m *manySessions) mustCrash(i int) bool {
	return int(float64(i)*m.crashes) > int(float64(i-1)*m.crashes)
}

func (m *manySessions) lose(err error) {
	m.lost.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loss == nil {
		m.loss = err
	}
}

// one makes one session.
func (m *manySessions) one(ctx context.Context, c *customer, mustCrash bool) error {
	g, err := c.grant(ctx)
	if err != nil {
		return err
	}
	granted := time.Now()
	s, err := visitServer(ctx, g, time.Minute)
	if err != nil {
		return err
	}
	if m.hold > 0 {
		if _, err := s.Call(ctx, "test.sleep", m.hold.Seconds()); err != nil {
			_ = s.Close()
			return fmt.Errorf("work: %w", err)
		}
	}
	if mustCrash {
		err = m.crash(ctx, s)
	} else if err = s.Close(); err != nil {
		err = fmt.Errorf("close: %w", err)
	}
	if err == nil && m.visits != nil {
		m.visits.add(s.Server(), granted, time.Now())
	}
	return err
}

// crash has the worker die, in one of several ways in turns.
func (m *manySessions) crash(ctx context.Context, s *client.Session) error {
	ways := []string{"test.segfault", "test.abort", "test.exit0", "test.panic", "test.illegal"}
	return crash(ctx, s, ways[int(m.crashed.Add(1))%len(ways)])
}

// ambientFloor measures raw ping-pongs, a hundred a second, until stop is
// called: what the machine did while something else was measured.
func ambientFloor(ctx context.Context, addr string) (stop func(), result func() *sample) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	s := &sample{}
	go func() {
		defer close(done)
		p, err := dialPeer(ctx, addr)
		if err != nil {
			return
		}
		defer p.close()
		message := floorMessage(64, 64)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			began := time.Now()
			if _, err := p.exchange(message, 64); err != nil {
				return
			}
			s.add(time.Since(began))
		}
	}()
	return cancel, func() *sample { <-done; return s }
}
