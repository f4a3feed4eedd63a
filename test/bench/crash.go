//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"time"

	"rpcpool.dev/workers/go/client"
)

// crashScenario measures how soon the next client is served when a worker
// crashes in the middle of a session, while that client waits.
type crashScenario struct{ n int }

const crashTarget = 15 * time.Millisecond

func (*crashScenario) name() string { return "crash" }
func (*crashScenario) about() string {
	return "a worker's crash to the next session's first call answered"
}
func (s *crashScenario) modest() { s.n = 60 }
func (s *crashScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.n, "n", 200, "crashes of each kind")
}

func (s *crashScenario) run(ctx context.Context, l *lab) error {
	tracker, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return err
	}
	if _, err := l.serve(ctx, benchKey, tracker.addr, "--warm", "1"); err != nil {
		return err
	}
	for _, kind := range []struct {
		figure   string
		pause    time.Duration
		function string
		args     []any
	}{
		{"SIGSEGV", breather, "test.segfault", nil},
		{"SIGABRT", breather, "test.abort", nil},
		{"exit 7", breather, "test.exit", []any{7}},
		{"SIGSEGV in the first call of its session", 0, "test.segfault", nil},
	} {
		b := &crashBench{key: benchKey, floor: floor.addr, pause: kind.pause, function: kind.function, args: kind.args}
		if err := b.run(ctx, tracker.addr, s.n); err != nil {
			return fmt.Errorf("%s: %w", kind.figure, err)
		}
		l.add(latencies("crashing call sent → next client's first call answered, "+kind.figure, &b.next).
			above(&b.raw, rawSessionIs).atMost(ofP50, crashTarget.Seconds()))
		l.add(latencies("crashing call sent → its client told, "+kind.figure, &b.told))
	}
	return nil
}

// crashBench has one client's worker crash while another waits, again and again.
type crashBench struct {
	key      string
	floor    string
	pause    time.Duration // of the session, before it crashes
	function string
	args     []any
	next     sample
	told     sample
	raw      sample

	watch    bool   // measure how soon the agent notices
	detected sample // from the worker's death
	beside   func() error
}

func (b *crashBench) run(ctx context.Context, trackerAddr string, n int) error {
	victim, err := newCustomer(ctx, trackerAddr, b.key)
	if err != nil {
		return err
	}
	defer victim.close()
	heir, err := newCustomer(ctx, trackerAddr, b.key)
	if err != nil {
		return err
	}
	defer heir.close()
	watcher, err := newCustomer(ctx, trackerAddr, b.key)
	if err != nil {
		return err
	}
	defer watcher.close()
	for i := range n {
		if err := b.one(ctx, victim, heir, watcher); err != nil {
			return fmt.Errorf("crash %d: %w", i, err)
		}
		raw, err := rawSession(ctx, b.floor, b.key)
		if err != nil {
			return err
		}
		b.raw.add(raw)
		if b.beside != nil {
			if err := b.beside(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *crashBench) one(ctx context.Context, victim, heir, watcher *customer) error {
	g, err := victim.grant(ctx)
	if err != nil {
		return err
	}
	doomed, err := visitServer(ctx, g, 0)
	if err != nil {
		return err
	}
	time.Sleep(b.pause)
	type served struct {
		at  time.Time
		err error
	}
	next := make(chan served, 1)
	go func() {
		at, err := b.inherit(ctx, heir)
		next <- served{at, err}
	}()
	if !waitUntil(ctx, time.Second, func() bool { return waiting(ctx, watcher) == 1 }) {
		return errors.New("the next client's request did not reach the queue")
	}
	var watched *death
	if b.watch {
		if watched, err = watchWorker(ctx, doomed); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := crash(ctx, doomed, b.function, b.args...); err != nil {
		return err
	}
	b.told.add(time.Since(began))
	end := <-next
	if end.err != nil {
		return fmt.Errorf("next client: %w", end.err)
	}
	b.next.add(end.at.Sub(began))
	if watched == nil {
		return nil
	}
	death := <-watched.result
	b.detected.add(death.took)
	return death.err
}

// watchWorker watches the session's worker die.
func watchWorker(ctx context.Context, s *client.Session) (*death, error) {
	pid, err := s.Call(ctx, "test.pid")
	if err != nil {
		return nil, fmt.Errorf("worker's process id: %w", err)
	}
	n, err := strconv.Atoi(fmt.Sprint(pid))
	if err != nil {
		return nil, fmt.Errorf("worker's process id: %w", err)
	}
	return watchDeath(n)
}

// inherit gets the device next and returns when its first call was answered.
func (b *crashBench) inherit(ctx context.Context, c *customer) (time.Time, error) {
	g, err := c.grant(ctx)
	if err != nil {
		return time.Time{}, err
	}
	s, err := visitServer(ctx, g, 0)
	if err != nil {
		return time.Time{}, err
	}
	at := time.Now()
	time.Sleep(b.pause)
	if err := s.Close(); err != nil {
		return at, fmt.Errorf("close: %w", err)
	}
	return at, nil
}

// waiting is how many requests wait for the customer's key; -1 if it cannot tell.
func waiting(ctx context.Context, c *customer) int {
	summary, err := c.Summary(ctx)
	if err != nil {
		return -1
	}
	return summary.Queue[c.key].Pending
}
