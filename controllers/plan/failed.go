package plan

import (
	"slices"

	"rpcpool.dev/api/v1alpha1"
)

const ownGrace = -1 // the pod's own grace period

// replaceFailed deletes pods that have ended or lost their node. A replacement
// waits for RetryAt; what needs none, or gets one of another revision, does not.
func (p *planning) replaceFailed() {
	failed := p.with(func(m *member) bool { return m.role == roleFailed })
	slices.SortStableFunc(failed, func(a, b *member) int { return b.RetryAt.Compare(a.RetryAt) })
	surplus := p.count((*member).active) + len(failed) - p.replicas
	for i, m := range failed {
		reason := v1alpha1.ReasonPodReplaced
		switch {
		case i < surplus:
			reason = v1alpha1.ReasonScalingDown
		case !m.outdated && !p.passed(m.RetryAt):
			p.wake(m.RetryAt)
			continue
		}
		p.remove(m, reason, failedGrace(m))
	}
	// A pod that was terminating when its node went never ends by itself.
	for _, m := range p.with(func(m *member) bool { return m.role == roleTerminating && m.NodeGone }) {
		p.remove(m, v1alpha1.ReasonPodReplaced, 0)
	}
}

func failedGrace(m *member) int64 {
	if m.NodeGone {
		return 0
	}
	return ownGrace
}
