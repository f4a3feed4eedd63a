package plan

import (
	"cmp"
	"slices"
	"time"
)

// planning is one plan in the making.
type planning struct {
	in       Input
	replicas int
	// members are the pods by ordinal.
	members []member
	plan    Plan
}

// Next decides what to do after one observation. It changes nothing in it, and
// the same observation gives the same plan.
func Next(in Input) Plan {
	p := newPlanning(in)
	if in.Pool.DeletionTimestamp == nil {
		p.replaceFailed()
		if in.Tracker.Settled {
			p.chooseExcess()
			p.chooseOutdated()
			p.dismissVictims()
		}
		p.create()
		p.markEvictable()
	}
	p.hold()
	p.status()
	p.tell()
	return p.plan
}

func newPlanning(in Input) *planning {
	p := &planning{in: in, replicas: 1, members: make([]member, len(in.Pods))}
	if in.Pool.Spec.Replicas != nil {
		p.replicas = int(*in.Pool.Spec.Replicas)
	}
	for i := range in.Pods {
		pod := &in.Pods[i]
		p.members[i] = member{Pod: pod, role: roleOf(pod), outdated: pod.Revision != in.Revision}
	}
	slices.SortFunc(p.members, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.Ordinal, b.Ordinal), cmp.Compare(a.UID, b.UID))
	})
	return p
}

// wake asks for the next plan at t at the latest.
func (p *planning) wake(t time.Time) {
	if p.plan.Wake.IsZero() || t.Before(p.plan.Wake) {
		p.plan.Wake = t
	}
}

// passed says whether t has come.
func (p *planning) passed(t time.Time) bool { return !p.in.Now.Before(t) }

// remove plans the deletion of m. A grace below 0 is the pod's own.
func (p *planning) remove(m *member, reason string, grace int64) {
	m.deletion = reason
	d := Deletion{Ref: m.ref(), Reason: reason}
	if grace >= 0 {
		d.Grace = &grace
	}
	p.plan.Delete = append(p.plan.Delete, d)
}

// with returns the members that match, by ordinal.
func (p *planning) with(match func(*member) bool) []*member {
	var out []*member
	for i := range p.members {
		if m := &p.members[i]; match(m) {
			out = append(out, m)
		}
	}
	return out
}

// count returns how many members match.
func (p *planning) count(match func(*member) bool) int {
	n := 0
	for i := range p.members {
		if match(&p.members[i]) {
			n++
		}
	}
	return n
}
