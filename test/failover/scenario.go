//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"rpcpool.dev/internal/kubetest"
)

// act is one thing to do to the leader.
type act struct {
	kind kind
	// pause before it, from when everything is as it was before the last one; if
	// early, from when the leader was elected.
	pause time.Duration
	early bool
	held  time.Duration // freeze: how long yet when there is another leader
}

// script makes the acts from the seed.
func (o *settings) script() []act {
	r := rand.New(rand.NewPCG(o.seed, 0)) //nolint:gosec // to be repeated, not to be secret
	acts := slices.Concat(
		slices.Repeat([]act{{kind: kill}}, o.kills),
		slices.Repeat([]act{{kind: stop}}, o.stops),
		slices.Repeat([]act{{kind: freeze}}, o.freezes))
	r.Shuffle(len(acts), func(i, j int) { acts[i], acts[j] = acts[j], acts[i] })
	const pauseMost, heldMost, earlyOneIn = 2500 * time.Millisecond, 8 * time.Second, 8
	for i := range acts {
		a := &acts[i]
		a.pause, a.held = time.Duration(r.Int64N(int64(pauseMost))), time.Duration(r.Int64N(int64(heldMost)))
		a.early = r.IntN(earlyOneIn) == 0 && a.kind == kill && i > 0
	}
	return acts
}

// scenario has clients use the pool while leaders go.
func (l *lab) scenario(ctx context.Context) error {
	work := l.startLoad(ctx)
	began := time.Now()
	err := l.acts(ctx)
	if err == nil {
		last := l.facts.failovers[len(l.facts.failovers)-1].at
		_ = l.until(ctx, patience, "sessions on all devices", func() bool { return len(l.history.idle(l.facts.devices, last)) == 0 })
		l.facts.idle = l.history.idle(l.facts.devices, last)
	}
	work.stop()
	l.facts.took, l.facts.visits = time.Since(began), l.history.all()
	if err != nil {
		return err
	}
	l.say("the load is over")
	if err := kubetest.Poll(ctx, patience, l.allFree); err != nil {
		l.facts.unlike = err.Error()
	}
	if l.facts.free, err = l.freeDevices(ctx); err != nil {
		return err
	}
	l.facts.after, err = l.pods(ctx)
	l.facts.deleted, _ = l.fleet.finish()
	return err
}

// acts does what the script says.
func (l *lab) acts(ctx context.Context) error {
	script := l.script()
	for i, a := range script {
		leader, err := l.steady(ctx, a.early)
		if err != nil {
			return err
		}
		pause(ctx, a.pause)
		f, err := l.do(ctx, a, leader)
		if err != nil {
			return fmt.Errorf("%s %d of %d: %w", a.kind, i+1, len(script), err)
		}
		if i+1 == len(script) || !script[i+1].early {
			if err := l.recover(ctx, f); err != nil {
				return fmt.Errorf("after %s %d of %d: %w", a.kind, i+1, len(script), err)
			}
			l.say("%d of %d: %s of operator %d; first grant of operator %d after %.2f s (floor %.2f s)",
				i+1, len(script), a.kind, f.victim, f.successor, f.granted.Sub(f.at).Seconds(), (f.elected.Sub(f.at) + l.settle).Seconds())
		}
		l.facts.failovers = append(l.facts.failovers, *f)
	}
	return nil
}

// steady waits for a leader that has granted, or only for one.
func (l *lab) steady(ctx context.Context, early bool) (leader *operator, err error) {
	err = l.until(ctx, patience, "a leader", func() bool {
		leader = l.operators.leader()
		return leader != nil && (early || !l.history.firstGrant(leader.number).IsZero())
	})
	return leader, err
}

// do takes the leader away, and waits until another one is elected.
func (l *lab) do(ctx context.Context, a act, victim *operator) (*failover, error) {
	holder, _ := l.watcher.leader()
	f := &failover{kind: a.kind, victim: victim.number}
	var successor *operator
	elected := func() bool {
		now, since := l.watcher.leader()
		successor = l.operators.leader()
		f.elected = since
		return now != holder && now != "" && successor != nil && successor != victim
	}
	signals := map[kind]syscall.Signal{kill: syscall.SIGKILL, stop: syscall.SIGTERM, freeze: syscall.SIGSTOP}
	f.at = time.Now()
	if err := l.operators.strike(victim, signals[a.kind]); err != nil {
		return nil, err
	}
	if a.kind == freeze {
		if err := l.until(ctx, patience, "another leader", elected); err != nil {
			return nil, err
		}
		pause(ctx, a.held)
		if err := l.operators.strike(victim, syscall.SIGCONT); err != nil {
			return nil, err
		}
	}
	l.operators.expect(victim, map[kind]int{kill: -1, stop: 0, freeze: 1}[a.kind])
	if err := l.operators.start(); err != nil {
		return nil, err
	}
	err := l.until(ctx, patience, "another leader", elected)
	if err == nil {
		f.successor = successor.number
	}
	return f, err
}

// recover waits until everything is as it was before, or the new leader has gone
// by itself.
func (l *lab) recover(ctx context.Context, f *failover) error {
	gone, settled := false, false
	err := l.until(ctx, patience, fmt.Sprintf("servers and grants at operator %d", f.successor), func() bool {
		leader := l.operators.leader()
		gone = leader == nil || leader.number != f.successor
		f.moved = l.watcher.movedTo(hostOf(f.successor))
		if f.moved.IsZero() || gone {
			return gone
		}
		f.registered, settled = l.fleet.registeredSince(f.moved)
		return settled && !l.history.firstGrant(f.successor).IsZero()
	})
	if err == nil && !gone {
		f.granted = l.history.firstGrant(f.successor)
	}
	return err
}
