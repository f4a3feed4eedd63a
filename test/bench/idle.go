//go:build linux

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/test/internal/proc"
	"rpcpool.dev/tvm"
)

// idleScenario measures what thousands of registered servers that do nothing
// cost the tracker: memory, and the time of a grant, first while they are
// silent and then while each polls every two seconds, as servers do. Another
// tracker, that has none of them, is measured at the same time.
type idleScenario struct {
	servers int
	calls   int
	every   time.Duration
}

const (
	idleBytesTarget = 16 << 10
	spareFiles      = 500
	pollEveryIdle   = 2 * time.Second
	settleTime      = 2 * time.Second // for the tracker's heap to find its size
)

func (*idleScenario) name() string  { return "idle" }
func (*idleScenario) about() string { return "memory and grant latency with thousands of idle servers" }
func (s *idleScenario) modest()     { s.calls = 3000 }
func (s *idleScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.servers, "servers", 10000, "idle servers")
	flags.IntVar(&s.calls, "n", 10000, "grants measured, before and after")
	flags.DurationVar(&s.every, "every", time.Millisecond, "time between two grants")
}

func (s *idleScenario) run(ctx context.Context, l *lab) error {
	limit, err := proc.RaiseFileLimit()
	if err != nil {
		return err
	}
	servers := min(s.servers, limit-spareFiles)
	if servers < s.servers {
		l.say("the limit of %d descriptors allows %d servers only", limit, servers)
	}
	floorBytes, err := s.floorMemory(ctx, l, servers)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	plain, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	loaded, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return err
	}
	paced, err := newPacedGrants(ctx, plain, loaded, floor, s.every, s.calls)
	if err != nil {
		return err
	}
	defer paced.close()
	before, err := paced.measure(ctx, s.calls)
	if err != nil {
		return err
	}
	l.add(latencies("grant without them", before.loaded).above(before.floor, before.floorIs))
	idle, err := s.memory(ctx, l, loaded, servers, floorBytes)
	if err != nil {
		return err
	}
	defer idle.close()
	return s.latency(ctx, l, paced, loaded, idle)
}

// floorMemory is what as many connections cost the floor.
func (s *idleScenario) floorMemory(ctx context.Context, l *lab, n int) (float64, error) {
	floor, err := l.floor(ctx)
	if err != nil {
		return 0, err
	}
	connections, err := newSwarm()
	if err != nil {
		return 0, err
	}
	defer connections.close()
	before, err := settledMemory(ctx, floor)
	if err != nil {
		return 0, err
	}
	for range n {
		if _, err := connections.dial(floor.addr, floorMessage(len(infoFrame(benchKey)), statusFrame), statusFrame); err != nil {
			return 0, err
		}
	}
	after, err := settledMemory(ctx, floor)
	return (after - before) / float64(n), err
}

// memory registers the servers and measures what they cost.
func (s *idleScenario) memory(ctx context.Context, l *lab, tracker *service, n int, floor float64) (*swarm, error) {
	before, err := settledMemory(ctx, tracker)
	if err != nil {
		return nil, err
	}
	slabBefore, tcpBefore, err := kernelMemory()
	if err != nil {
		return nil, err
	}
	idle, err := registerIdle(tracker.addr, n)
	if err != nil {
		return nil, err
	}
	after, err := settledMemory(ctx, tracker)
	if err != nil {
		idle.close()
		return nil, err
	}
	slabAfter, tcpAfter, err := kernelMemory()
	if err != nil {
		idle.close()
		return nil, err
	}
	each := float64(n)
	l.add(number(fmt.Sprintf("memory of the tracker for each of %s servers", thousands(each)), bytesUnit, (after-before)/each).
		aboveNumber(floor, "resident memory of the floor's process for each of as many connections").
		atMost(ofValue, idleBytesTarget).
		noted("resident, goroutine stacks included; %.0f MiB in all", after/(1<<20)))
	l.add(number("kernel memory for each (both ends, slab)", bytesUnit, (slabAfter-slabBefore)/each).
		noted("of the whole machine, so a rough figure; TCP buffers: %s each", bytesUnit.text((tcpAfter-tcpBefore)/each)))
	return idle, nil
}

// latency measures grants with the servers there, silent and polling.
func (s *idleScenario) latency(ctx context.Context, l *lab, paced *pacedGrants, tracker *service, idle *swarm) error {
	n := thousands(float64(len(idle.members)))
	silent, err := paced.measure(ctx, s.calls)
	if err != nil {
		return err
	}
	for _, r := range silent.rows(n + " silent servers") {
		l.add(r)
	}
	var polling *grantPace
	var busy float64
	measured := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return pollAll(ctx, idle, measured) })
	group.Go(func() (err error) {
		defer close(measured)
		busy, err = busyShare(tracker.pid(), func() (err error) {
			polling, err = paced.measure(ctx, s.calls)
			return err
		})
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for _, r := range polling.rows(n + " servers that poll every 2 s") {
		l.add(r)
	}
	l.add(number("share of a core that the tracker uses for both", share, busy).
		noted("%s polls and %s grants a second", thousands(float64(len(idle.members))/pollEveryIdle.Seconds()), thousands(1/s.every.Seconds())))
	return nil
}

// busyShare is the share of a core that a process uses while a function runs.
func busyShare(pid int, during func() error) (float64, error) {
	before, err := proc.CPUSeconds(pid)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := during(); err != nil {
		return 0, err
	}
	took := time.Since(began)
	after, err := proc.CPUSeconds(pid)
	return (after - before) / took.Seconds(), err
}

// settledMemory is the resident memory of a process once it has stopped moving.
func settledMemory(ctx context.Context, s *service) (float64, error) {
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return proc.ResidentBytes(s.pid())
}

// registerIdle registers n servers, each with an offer, under a key that
// nobody asks for.
func registerIdle(addr string, n int) (*swarm, error) {
	const key = "idle"
	s, err := newSwarm()
	if err != nil {
		return nil, err
	}
	magic := tvm.AppendTrackerMagic(nil)
	info := infoFrame(key)
	for i := range n {
		hello := append(append(bytes.Clone(magic), info...), putFrame(key, ticket(key, i))...)
		m, err := s.dial(addr, hello, len(magic)+2*statusFrame)
		if err != nil {
			s.close()
			return nil, err
		}
		m.answer = tvm.FrameHeader + len(tvm.AppendMatchKeys(nil, []string{ticket(key, i)}))
		m.got = func(*member, []byte) error { return nil }
	}
	return s, nil
}

// pollAll has every member poll once in two seconds, evenly spread, until over.
func pollAll(ctx context.Context, s *swarm, over <-chan struct{}) error {
	poll := tvm.AppendMessage(nil, tvm.GetPendingMatchKeys{})
	gap := pollEveryIdle / time.Duration(len(s.members))
	next, i := time.Now(), 0
	var failed error
	err := s.drive(ctx, time.Millisecond, func() bool {
		for ; failed == nil && time.Until(next) <= 0; next = next.Add(gap) {
			failed = s.ask(s.members[i], poll)
			i = (i + 1) % len(s.members)
		}
		select {
		case <-over:
			return true
		default:
			return failed != nil
		}
	})
	if err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	return s.drain(ctx)
}
