package plan

import "k8s.io/apimachinery/pkg/util/intstr"

var defaultMaxUnavailable = intstr.FromString("25%")

// chooseOutdated picks the pods of old revisions whose turn it is: those that
// serve nobody, those that drain already, and as many others as may be missing.
func (p *planning) chooseOutdated() {
	var rest []*member
	available := 0
	for i := range p.members {
		m := &p.members[i]
		stays := m.Draining.IsZero()
		serves := m.serving() && stays
		switch {
		case m.role != roleKept:
		case m.outdated && !serves && (!stays || !m.perhapsServing()):
			m.role = roleOutdated
		case serves:
			available++
			if m.outdated {
				rest = append(rest, m)
			}
		case m.outdated: // as missing as others, but not to be taken for that
			rest = append(rest, m)
		}
	}
	budget := p.maxUnavailable() - (p.replicas - available)
	if budget <= 0 || len(rest) == 0 {
		return
	}
	inOrder(rest)
	for _, m := range rest[:min(budget, len(rest))] {
		m.role = roleOutdated
	}
}

// maxUnavailable is how many servers may be neither offered nor in a session
// because of a rollout.
func (p *planning) maxUnavailable() int {
	limit := p.in.Pool.Spec.Rollout.MaxUnavailable
	if limit == nil {
		limit = &defaultMaxUnavailable
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(limit, p.replicas, true)
	if err != nil { // the schema does not let it in
		return 1
	}
	return max(1, n)
}
