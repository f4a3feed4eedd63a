//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"syscall"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// restartScenario measures how soon every device is on offer again when a part
// has crashed and was started again: the tracker, a sidecar, an agent.
type restartScenario struct {
	servers int
	rounds  int
}

// A server polls its tracker every two seconds; a tracker that is gone is noticed
// then at the latest, and after a first backoff there is a connection again.
const (
	restartTarget = 2*time.Second + 250*time.Millisecond
	orphanTime    = time.Second // for workers to die after their agent
)

func (*restartScenario) name() string { return "restart" }
func (*restartScenario) about() string {
	return "the tracker, a sidecar or an agent is killed: until all devices are free again"
}
func (s *restartScenario) modest() { s.rounds = 5 }
func (s *restartScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.servers, "servers", 8, "servers of the tracker that is killed")
	flags.IntVar(&s.rounds, "rounds", 15, "restarts of each part")
}

func (s *restartScenario) run(ctx context.Context, l *lab) error {
	tracker, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	for range s.servers {
		if _, err := l.serve(ctx, benchKey, tracker.addr); err != nil {
			return err
		}
	}
	if tracker, err = s.ofTracker(ctx, l, tracker); err != nil {
		return fmt.Errorf("tracker: %w", err)
	}
	return s.ofPair(ctx, l, tracker)
}

// ofTracker kills the tracker, and starts another at the same address.
func (s *restartScenario) ofTracker(ctx context.Context, l *lab, tracker *service) (*service, error) {
	back, raw := &sample{}, &sample{}
	for range s.rounds {
		if err := awaitFree(ctx, tracker.addr, benchKey, s.servers); err != nil {
			return nil, err
		}
		if err := l.kill(tracker.process); err != nil {
			return nil, err
		}
		began := time.Now()
		var err error
		if tracker, err = l.trackerAt(ctx, tracker.addr); err != nil {
			return nil, err
		}
		if err := awaitFree(ctx, tracker.addr, benchKey, s.servers); err != nil {
			return nil, err
		}
		back.add(time.Since(began))
		if err := s.floor(ctx, l, raw); err != nil {
			return nil, err
		}
	}
	l.add(latencies(fmt.Sprintf("tracker killed and started again → all %d devices free", s.servers), back).
		above(raw, restartFloorIs).atMost(ofP99, restartTarget.Seconds()))
	return tracker, nil
}

const restartFloorIs = "start of a process that only listens, until it answers one ping-pong"

// ofPair kills the sidecar and the agent of a device's pod, in turns.
func (s *restartScenario) ofPair(ctx context.Context, l *lab, tracker *service) error {
	const key = "pod"
	p, err := l.startAgent()
	if err != nil {
		return err
	}
	if err := l.startSidecar(ctx, p, key, tracker.addr); err != nil {
		return err
	}
	sidecars, agents, raw := &sample{}, &sample{}, &sample{}
	for i := range 2 * s.rounds {
		if err := awaitFree(ctx, tracker.addr, key, 1); err != nil {
			return err
		}
		into, restart := sidecars, s.killSidecar
		if i%2 == 1 {
			into, restart = agents, s.killAgent
		}
		began := time.Now()
		if err := restart(ctx, l, p, key, tracker.addr); err != nil {
			return err
		}
		if err := awaitFree(ctx, tracker.addr, key, 1); err != nil {
			return err
		}
		into.add(time.Since(began))
		if err := s.floor(ctx, l, raw); err != nil {
			return err
		}
	}
	l.add(latencies("sidecar killed and started again → its device free", sidecars).
		above(raw, restartFloorIs).atMost(ofP99, restartTarget.Seconds()))
	l.add(latencies("agent killed and started again → its device free", agents).
		above(raw, restartFloorIs).atMost(ofP99, restartTarget.Seconds()))
	return nil
}

func (s *restartScenario) killSidecar(ctx context.Context, l *lab, p *pair, key, tracker string) error {
	if err := l.kill(p.sidecar.process); err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	return l.startSidecar(ctx, p, key, tracker)
}

// killAgent kills the agent, whose workers must die with it, and starts another
// when the tracker has seen that the device is not free.
func (s *restartScenario) killAgent(ctx context.Context, l *lab, p *pair, key, tracker string) error {
	workers, err := proc.Descendants(p.agent.pid())
	if err != nil {
		return err
	}
	if err := l.kill(p.agent); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	if err := awaitDead(ctx, workers); err != nil {
		return err
	}
	if err := awaitFree(ctx, tracker, key, 0); err != nil {
		return err
	}
	again, err := l.startAgent()
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	p.agent = again.agent
	return nil
}

// awaitDead waits until processes that became our children have died, and reaps
// them, as init would.
func awaitDead(ctx context.Context, all []proc.Stat) error {
	for _, s := range all {
		if !waitUntil(ctx, orphanTime, func() bool {
			proc.Reap(s.PID)
			return syscall.Kill(s.PID, 0) != nil
		}) {
			return fmt.Errorf("process %d (%s) outlived its agent by %s", s.PID, s.Name, orphanTime)
		}
	}
	return nil
}

// floor starts one more floor, calls it, and stops it.
func (s *restartScenario) floor(ctx context.Context, l *lab, into *sample) error {
	began := time.Now()
	again, err := l.floor(ctx)
	if err != nil {
		return err
	}
	c, err := dialPeer(ctx, again.addr)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.exchange(floorMessage(64, 64), 64); err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	into.add(time.Since(began))
	return l.stop(again.process)
}

// awaitFree waits until exactly so many devices of a key are free.
func awaitFree(ctx context.Context, tracker, key string, devices int) error {
	c, err := newCustomer(ctx, tracker, key)
	if err != nil {
		return err
	}
	defer c.close()
	free := -1
	if !waitUntil(ctx, startTime, func() bool {
		summary, err := c.Summary(ctx)
		if err == nil {
			free = summary.Queue[key].Free
		}
		return free == devices
	}) {
		return fmt.Errorf("%d devices of %s are free after %s, want %d", free, key, startTime, devices)
	}
	return nil
}
