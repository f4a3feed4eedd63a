package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// role is the part that a pod has in the plan.
type role uint8

const (
	// roleKept stays.
	roleKept role = iota
	// roleExcess goes because there are more pods than replicas.
	roleExcess
	// roleOutdated goes because it is of an old revision, and now is its turn.
	roleOutdated
	// roleFailed has ended, or its node is gone: it is deleted to be made anew.
	roleFailed
	// roleTerminating is being deleted.
	roleTerminating
)

// member is a pod and what the plan makes of it.
type member struct {
	*Pod
	role role
	// outdated: of another revision than the current one.
	outdated bool
	// drained, undrained: by this plan.
	drained, undrained bool
	// deletion is the reason for which this plan deletes the pod; empty: it does not.
	deletion string
	// until is when the pod of a victim is deleted, its session over or not.
	until time.Time
}

func roleOf(p *Pod) role {
	switch {
	case p.Terminating:
		return roleTerminating
	case p.Phase == corev1.PodFailed, p.Phase == corev1.PodSucceeded, p.NodeGone:
		return roleFailed
	default:
		return roleKept
	}
}

func (m *member) deleted() bool { return m.deletion != "" }

func (m *member) ref() Ref { return Ref{Name: m.Name, UID: m.UID} }

// state is what the tracker says of the server; empty: it does not know it.
func (m *member) state() ServerState {
	if m.Server == nil {
		return ""
	}
	return m.Server.State
}

// active pods are neither terminating nor to be replaced because they failed.
func (m *member) active() bool { return m.role < roleFailed }

// victim pods are active and have to go.
func (m *member) victim() bool { return m.role == roleExcess || m.role == roleOutdated }

// started pods are or were Running.
func (m *member) started() bool { return m.Phase != corev1.PodPending && m.Phase != "" }

// pending pods stay and are on their way.
func (m *member) pending() bool { return m.role == roleKept && !m.started() }

// draining pods have the annotation when this plan is carried out.
func (m *member) draining() bool { return m.drained || !m.Draining.IsZero() && !m.undrained }

// serving servers are offered or in a session.
func (m *member) serving() bool { return m.state() == ServerFree || m.state() == ServerBusy }

// unheard servers may be in a session of which the tracker does not know.
func (m *member) unheard() bool { return m.Server == nil || m.state() == ServerLost }

// perhapsServing servers are unheard, and yet ready by their kubelet's word, for
// which they must be offered or in a session: the tracker is new, or cannot be
// reached from there.
func (m *member) perhapsServing() bool { return m.unheard() && m.Ready }

// idle servers are not offered and in no session. A server that the tracker has
// not heard of is idle if its kubelet says that the pod is not ready; the word of
// a kubelet that is silent itself is not its own.
func (m *member) idle() bool {
	if m.unheard() {
		return !m.Ready && !m.NodeNotReady
	}
	return !m.serving()
}

// waiting victims go when a session ends that is, or may be, going on.
func (m *member) waiting() bool {
	return m.victim() && !m.deleted() && !m.idle() && m.state() != ServerFree
}
