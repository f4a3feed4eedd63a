package plan

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
)

// verdict is a condition without the fields that all have alike.
type verdict struct {
	status          metav1.ConditionStatus
	reason, message string
}

func yes(reason, format string, args ...any) verdict {
	return verdict{metav1.ConditionTrue, reason, fmt.Sprintf(format, args...)}
}

func no(reason, format string, args ...any) verdict {
	return verdict{metav1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

// conditions are always in the same order.
func (p *planning) conditions() []metav1.Condition {
	out := []metav1.Condition{
		p.ready(),
		p.condition(v1alpha1.ConditionProgressing, p.progress()),
		p.condition(v1alpha1.ConditionTrackerReady, p.trackerReady()),
	}
	if p.wantsRDMA() {
		out = append(out, p.rdmaReady())
	}
	return out
}

func (p *planning) condition(kind string, v verdict) metav1.Condition {
	c := metav1.Condition{
		Type: kind, Status: v.status, Reason: v.reason, Message: clip(v.message),
		ObservedGeneration: p.in.Pool.Generation, LastTransitionTime: metav1.NewTime(p.in.Now.Truncate(time.Second)),
	}
	if old := meta.FindStatusCondition(p.in.Pool.Status.Conditions, kind); old != nil && old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	return c
}

// unsettled keeps a condition's last word, if that was about the same manifest.
func (p *planning) unsettled(kind, otherwise string) metav1.Condition {
	old := meta.FindStatusCondition(p.in.Pool.Status.Conditions, kind)
	if old != nil && old.ObservedGeneration == p.in.Pool.Generation {
		return *old
	}
	t := p.trackerReady()
	return p.condition(kind, verdict{metav1.ConditionUnknown, t.reason, otherwise + ": " + t.message})
}

// ready keeps its last word until the tracker has settled.
func (p *planning) ready() metav1.Condition {
	const kind = v1alpha1.ConditionReady
	if p.replicas == 0 {
		return p.condition(kind, yes(v1alpha1.ReasonAllServersReady, "no servers are asked for"))
	}
	if !p.in.Tracker.Settled {
		return p.unsettled(kind, "which servers are ready is not known")
	}
	ready := min(p.replicas, p.count(func(m *member) bool { return m.active() && m.serving() }))
	message := fmt.Sprintf("%d of %d servers are ready", ready, p.replicas)
	switch rest := p.notReady(); {
	case ready == p.replicas:
		return p.condition(kind, yes(v1alpha1.ReasonAllServersReady, "%s", message))
	case p.servers(ServerQuarantined) > 0:
		return p.condition(kind, no(v1alpha1.ReasonQuarantined, "%s; %s", message, rest))
	default:
		return p.condition(kind, no(v1alpha1.ReasonServersMissing, "%s; %s", message, rest))
	}
}

// notReady says where the servers are that are not ready.
func (p *planning) notReady() string {
	running := func(state ServerState) func(*member) bool {
		return func(m *member) bool { return m.active() && m.started() && m.state() == state }
	}
	kinds := []struct {
		word  string
		match func(*member) bool
	}{
		{"quarantined", func(m *member) bool { return m.active() && m.state() == ServerQuarantined }},
		{"failed", func(m *member) bool { return m.role == roleFailed }},
		{"not heard of", running(ServerLost)},
		{"not registered", running("")},
		{"starting", running(ServerStarting)},
		{"not started", func(m *member) bool {
			return m.active() && !m.started() && !m.serving() && m.state() != ServerQuarantined
		}},
		{"held back", running(ServerDraining)},
		{"terminating", func(m *member) bool { return m.role == roleTerminating }},
	}
	var parts []string
	for _, k := range kinds {
		if which := p.with(k.match); len(which) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s (%s)", len(which), k.word, listProblems(which)))
		}
	}
	if n := p.missing(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d to be made", n))
	}
	return strings.Join(parts, ", ")
}

func (p *planning) trackerReady() verdict {
	switch t := p.in.Tracker; {
	case t.Reason != "":
		return no(t.Reason, "%s", t.Message)
	case t.Address == "":
		return no(v1alpha1.ReasonNotListening, "the tracker does not listen yet")
	case !t.Settled:
		return no(v1alpha1.ReasonSettling, "the tracker has just started and waits for servers and clients to come back")
	case t.Joining:
		return no(v1alpha1.ReasonSettling, "the tracker has just started: it waits for servers that clients know to come back, and then tells of others")
	default:
		return yes(v1alpha1.ReasonListening, "clients connect to %s", t.Address)
	}
}
