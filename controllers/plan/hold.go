package plan

import "rpcpool.dev/api/v1alpha1"

// hold lists the servers that are not to be offered.
func (p *planning) hold() {
	all := p.in.Pool.DeletionTimestamp != nil
	for i := range p.members {
		if m := &p.members[i]; all || m.held() {
			p.plan.Hold = append(p.plan.Hold, m.UID)
		}
	}
}

func (m *member) held() bool {
	return m.role == roleTerminating || m.victim() || m.draining() || m.deleted() ||
		m.NodeGone || m.NodeCordoned || m.NodeNotReady
}

// markEvictable keeps the labels by which the pool's PodDisruptionBudget knows
// what may be evicted. As long as the tracker has not settled, none becomes
// evictable, and none ceases to be because the tracker does not know it yet.
func (p *planning) markEvictable() {
	if p.in.Pool.Spec.DisruptionBudget == v1alpha1.DisruptionBudgetNone {
		return
	}
	settled := p.in.Tracker.Settled
	for i := range p.members {
		m := &p.members[i]
		evictable := m.NodeCordoned && (m.evictable() || p.in.Pool.Spec.NativeCalls())
		switch {
		case !m.active() || m.deleted() || evictable == m.Evictable:
		case evictable && settled:
			p.plan.Evictable = append(p.plan.Evictable, m.ref())
		case !evictable && (settled || !m.NodeCordoned || m.serving()):
			p.plan.NotEvictable = append(p.plan.NotEvictable, m.ref())
		}
	}
}

// evictable servers are in no session, as far as anybody knows, and not offered.
func (m *member) evictable() bool {
	if m.Server == nil {
		return !m.Ready
	}
	return !m.serving()
}
