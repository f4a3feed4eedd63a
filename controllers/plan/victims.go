package plan

import (
	"cmp"
	"slices"
	"time"

	"rpcpool.dev/api/v1alpha1"
)

const (
	defaultDrainTimeout = 10 * time.Minute
	defaultKillGrace    = 2 * time.Second
	// killMargin is the time, in seconds, that a pod has to end after its worker
	// was killed.
	killMargin = 5
	// unheardFor is how long a drain waits for word of a server that the tracker
	// does not know. Its pod is then deleted with its own grace period, in which a
	// session that there may be goes on.
	unheardFor = 30 * time.Second
	// again is when to look whether a server that was just held had been granted
	// before.
	again = time.Second
)

// class orders victims: those that drain already go first, then by state those
// that serve nobody, then those of an old revision.
func (m *member) class() int {
	class := 0
	switch m.state() {
	case ServerQuarantined:
	case ServerFree:
		class = 4
	case ServerBusy:
		class = 6
	default:
		class = 2
		if m.perhapsServing() {
			class = 6
		}
	}
	if m.Draining.IsZero() {
		class += 8
	}
	if !m.outdated {
		class++
	}
	return class
}

// inOrder sorts victims, the first to go first: by class, then the newest.
func inOrder(members []*member) {
	type key struct {
		class, ordinal int
		created        int64 // ns
		m              *member
	}
	keys := make([]key, len(members)) // thousands of pods are sorted faster by them
	for i, m := range members {
		keys[i] = key{m.class(), m.Ordinal, m.Created.UnixNano(), m}
	}
	slices.SortFunc(keys, func(a, b key) int {
		switch {
		case a.class != b.class:
			return cmp.Compare(a.class, b.class)
		case a.created != b.created:
			return cmp.Compare(b.created, a.created)
		default:
			return cmp.Compare(b.ordinal, a.ordinal)
		}
	})
	for i := range keys {
		members[i] = keys[i].m
	}
}

// chooseExcess picks the pods that are too many.
func (p *planning) chooseExcess() {
	active := p.with((*member).active)
	if len(active) <= p.replicas {
		return
	}
	inOrder(active)
	for _, m := range active[:len(active)-p.replicas] {
		m.role = roleExcess
	}
}

// dismissVictims drains and deletes what was chosen, and lets those go on that
// drain and are not chosen any more.
func (p *planning) dismissVictims() {
	for i := range p.members {
		switch m := &p.members[i]; {
		case m.victim():
			p.dismiss(m)
		case m.active() && !m.Draining.IsZero():
			m.undrained = true
			p.plan.Undrain = append(p.plan.Undrain, m.ref())
		}
	}
}

// dismiss takes a victim one step further. The observation is older than the
// hold that this plan puts on the server, so what was idle may have been granted
// since: only what was held before (its drain had begun) is deleted. A pod that
// has never run cannot have been granted.
//
// A server of native calls is not granted to anybody: it takes no more calls when its
// pod is told to end, and the pod's grace period is long enough for those that run.
func (p *planning) dismiss(m *member) {
	reason := v1alpha1.ReasonScalingDown
	if m.role == roleOutdated {
		reason = v1alpha1.ReasonRollingOut
	}
	if p.in.Pool.Spec.NativeCalls() {
		p.remove(m, reason, ownGrace)
		return
	}
	if m.Draining.IsZero() {
		if !m.started() && m.Server == nil && m.idle() {
			p.remove(m, reason, ownGrace)
			return
		}
		m.drained = true
		m.until = p.lastsUntil(m, p.in.Now)
		p.plan.Drain = append(p.plan.Drain, m.ref())
		p.wake(p.in.Now.Add(again))
		p.wake(m.until)
		return
	}
	m.until = p.lastsUntil(m, m.Draining)
	switch {
	case m.idle():
		p.remove(m, reason, ownGrace)
	case p.passed(m.Draining.Add(p.drainTimeout())):
		p.remove(m, v1alpha1.ReasonDrainTimeout, p.killGrace())
	case p.passed(m.until):
		p.remove(m, reason, ownGrace)
	case m.state() == ServerFree:
		p.wake(p.in.Now.Add(again))
	default:
		p.wake(m.until)
	}
}

// lastsUntil is when a drain ends that began at start, whatever happens.
func (p *planning) lastsUntil(m *member, start time.Time) time.Time {
	timeout := p.drainTimeout()
	if m.unheard() {
		timeout = min(timeout, unheardFor)
	}
	return start.Add(timeout)
}

func (p *planning) drainTimeout() time.Duration {
	if t := p.in.Pool.Spec.Rollout.DrainTimeout; t != nil {
		return t.Duration
	}
	return defaultDrainTimeout
}

// killGrace is the grace period, in seconds, of a pod whose session is killed.
func (p *planning) killGrace() int64 {
	grace := defaultKillGrace
	if g := p.in.Pool.Spec.Server.KillGracePeriod; g != nil {
		grace = g.Duration
	}
	return int64((grace+time.Second-1)/time.Second) + killMargin
}
