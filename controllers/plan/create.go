package plan

import (
	"time"

	"rpcpool.dev/api/v1alpha1"
)

const (
	// minOnTheWay and maxOnTheWay bound the pods that are made and not started.
	minOnTheWay, maxOnTheWay = 8, 500
	// startsWithin is how old a pod with a problem is before it holds others back:
	// many problems pass by themselves.
	startsWithin = 10 * time.Second
)

// create lists the pods to make: the lowest ordinals that no pod has. The order
// is fixed so that what a dying operator still has under way is among what its
// successor makes, and both together do not exceed the replicas.
func (p *planning) create() {
	started := p.count(func(m *member) bool { return m.active() && m.started() })
	onTheWay := p.count(func(m *member) bool { return m.pending() || m.role == roleFailed })
	room := min(p.missing(), min(maxOnTheWay, max(minOnTheWay, 2*started))-onTheWay)
	if p.in.Refused != "" {
		room = min(room, 1) // one to see whether it still is
	}
	if m, _ := p.obstacle(); m != nil || room <= 0 {
		return
	}
	used := make(map[int]bool, len(p.members))
	for i := range p.members {
		used[p.members[i].Ordinal] = true
	}
	for ordinal := 0; len(p.plan.Create) < room; ordinal++ {
		if !used[ordinal] {
			p.plan.Create = append(p.plan.Create, ordinal)
		}
	}
}

// missing is the number of pods that may be made. What terminates and what has
// failed keeps its place until it is gone.
func (p *planning) missing() int { return max(0, p.replicas-len(p.members)) }

// obstacle returns the first pod that holds further ones back, and why; nil:
// none does.
func (p *planning) obstacle() (*member, string) {
	var slow *member
	for i := range p.members {
		m := &p.members[i]
		switch due := m.Created.Add(startsWithin); {
		case !m.pending():
		case m.Unschedulable:
			return m, v1alpha1.ReasonUnschedulable
		case m.Problem == "" || slow != nil:
		case p.passed(due):
			slow = m
		default:
			p.wake(due)
		}
	}
	return slow, v1alpha1.ReasonPodsDoNotStart
}
