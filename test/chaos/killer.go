//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// killer does to processes what machines, kernels and operators do to them, on a
// clock of its own.
type killer struct {
	fleet *fleet
	book  *book
	every time.Duration
	rand  *rand.Rand

	stops  sync.WaitGroup
	mu     sync.Mutex
	halted map[int]bool // servers whose agent is stopped: left alone
}

// killerStream tells the killer's choices from those of programs.
const killerStream = 1 << 63

func newKiller(f *fleet, b *book, seed uint64, every time.Duration) *killer {
	return &killer{
		fleet: f, book: b, every: every, halted: map[int]bool{},
		rand: rand.New(rand.NewPCG(seed, killerStream)), //nolint:gosec // to be repeated
	}
}

// trackerEvery is how many kills there are for one of the tracker.
const trackerEvery = 60

func pairHits() []weighted[hitKind] {
	return []weighted[hitKind]{
		{hitWorker, 30}, {hitAgent, 15}, {hitSidecar, 18}, {hitBoth, 5}, {hitStop, 4}, {hitStopKill, 2},
		{hitTermAgent, 6}, {hitTermSidecar, 8}, {hitGuard, 5},
	}
}

func serveHits() []weighted[hitKind] {
	return []weighted[hitKind]{
		{hitWorker, 30}, {hitAgent, 12}, {hitServe, 12}, {hitGuard, 5}, {hitStop, 4}, {hitStopKill, 2},
		{hitTermAgent, 6}, {hitTermServe, 8},
	}
}

// run kills until ctx ends, and returns when nothing is stopped any more.
func (k *killer) run(ctx context.Context) {
	defer k.stops.Wait()
	for {
		pause(ctx, k.every/2+time.Duration(k.rand.Int64N(int64(k.every))))
		if ctx.Err() != nil {
			return
		}
		k.one(ctx)
	}
}

// one kills once. The choices are drawn whether or not they can be carried out,
// so that the stream is the same in every run.
func (k *killer) one(ctx context.Context) {
	s := k.fleet.servers[k.rand.IntN(len(k.fleet.servers))]
	hits := serveHits()
	if s.pair() {
		hits = pairHits()
	}
	kind, lot, length := pick(k.rand, hits), k.rand.Uint64(), stopTime(k.rand)
	if k.rand.IntN(trackerEvery) == 0 {
		k.book.hit(hit{at: time.Now(), server: -1, kind: hitTracker, pid: k.fleet.tracker.running()})
		k.fleet.tracker.strike(syscall.SIGKILL)
		return
	}
	if k.isHalted(s) {
		return
	}
	switch kind {
	case hitStop, hitStopKill:
		k.stops.Go(func() { k.halt(ctx, s, kind, length) })
	default:
		k.strike(s, kind, lot)
	}
}

// stopTime is how long an agent is stopped: mostly shorter than a sidecar waits
// for it, sometimes longer.
func stopTime(r *rand.Rand) time.Duration {
	const short, long = 700, 6000
	if r.IntN(4) == 0 {
		return time.Duration(r.IntN(long)) * time.Millisecond
	}
	return time.Duration(20+r.IntN(short)) * time.Millisecond
}

// strike does what ends a process.
func (k *killer) strike(s *server, kind hitKind, lot uint64) {
	pid := k.target(s, kind, lot)
	if pid == 0 {
		return
	}
	k.book.hit(hit{at: time.Now(), server: s.index, kind: kind, pid: pid})
	switch kind {
	case hitAgent, hitTermAgent, hitGuard:
		s.strikeAgent(pid, signalOf(kind))
	case hitSidecar, hitServe, hitTermSidecar, hitTermServe:
		s.sidecar.strike(signalOf(kind))
	case hitBoth:
		s.strikeAgent(s.agentPID(), syscall.SIGKILL)
		s.sidecar.strike(syscall.SIGKILL)
	default:
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func signalOf(kind hitKind) syscall.Signal {
	switch kind {
	case hitTermAgent, hitTermSidecar, hitTermServe:
		return syscall.SIGTERM
	default:
		return syscall.SIGKILL
	}
}

// halt stops an agent for a while.
func (k *killer) halt(ctx context.Context, s *server, kind hitKind, length time.Duration) {
	pid := s.agentPID()
	if pid == 0 || !k.setHalted(s, true) {
		return
	}
	defer k.setHalted(s, false)
	over := k.book.hit(hit{at: time.Now(), server: s.index, kind: kind, pid: pid})
	defer func() { over(kind) }()
	if syscall.Kill(pid, syscall.SIGSTOP) != nil {
		return
	}
	pause(ctx, length)
	if kind == hitStop {
		_ = syscall.Kill(pid, syscall.SIGCONT)
		return
	}
	s.strikeAgent(pid, syscall.SIGKILL)
}

func (k *killer) isHalted(s *server) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.halted[s.index]
}

// setHalted changes it; it returns false if that was no change.
func (k *killer) setHalted(s *server, to bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed := k.halted[s.index] != to
	k.halted[s.index] = to
	return changed
}
