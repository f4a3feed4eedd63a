package plan

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
)

// action is the action of an event by its reason.
func action(reason string) string {
	switch reason {
	case v1alpha1.ReasonScalingUp, v1alpha1.ReasonUnschedulable, v1alpha1.ReasonPodsDoNotStart, v1alpha1.ReasonForbidden:
		return "ScaleUp"
	case v1alpha1.ReasonScalingDown:
		return "ScaleDown"
	case v1alpha1.ReasonRollingOut:
		return "RollOut"
	case v1alpha1.ReasonPodReplaced:
		return "Replace"
	case v1alpha1.ReasonDraining:
		return "Drain"
	case v1alpha1.ReasonDrainTimeout:
		return "Kill"
	case v1alpha1.ReasonListening, v1alpha1.ReasonNotListening:
		return "Listen"
	default:
		return "Observe"
	}
}

func (p *planning) event(kind, reason, message string) {
	done := reason == v1alpha1.ReasonPodReplaced || reason == v1alpha1.ReasonDraining || reason == v1alpha1.ReasonDrainTimeout
	p.plan.Events = append(p.plan.Events, Event{Type: kind, Reason: reason, Action: action(reason), Message: clip(message), Done: done})
}

// tell lists the events: what the plan does to pods, in one event each whatever
// their number, and what has changed in the conditions.
func (p *planning) tell() {
	p.tellReplaced()
	p.tellDrains()
	p.tellProgress()
	p.tellReady()
	p.tellTracker()
	p.tellRDMA()
}

func (p *planning) tellReplaced() {
	failed := p.with(func(m *member) bool { return m.role == roleFailed && m.deletion == v1alpha1.ReasonPodReplaced })
	if len(failed) > 0 {
		p.event(corev1.EventTypeWarning, v1alpha1.ReasonPodReplaced,
			fmt.Sprintf("replacing %s: %s", plural(len(failed), "pod"), listProblems(failed)))
	}
}

func (p *planning) tellDrains() {
	if drained := p.with(func(m *member) bool { return m.drained }); len(drained) > 0 {
		p.event(corev1.EventTypeNormal, v1alpha1.ReasonDraining,
			fmt.Sprintf("draining %s: %s", plural(len(drained), "server"), list(drained, podName)))
	}
	killed := p.with(func(m *member) bool { return m.deletion == v1alpha1.ReasonDrainTimeout })
	if len(killed) > 0 {
		p.event(corev1.EventTypeWarning, v1alpha1.ReasonDrainTimeout, fmt.Sprintf("%s not over after %s, killed: %s",
			plural(len(killed), "session"), p.drainTimeout().Round(time.Millisecond), list(killed, podAndClient)))
	}
}

func podAndClient(m *member) string {
	if m.Server == nil || m.Server.Client == "" {
		return m.Name
	}
	return m.Name + " (client " + m.Server.Client + " since " + clock(m.Server.Since) + ")"
}

// change returns a condition as it was and as it is; the former may be zero.
func (p *planning) change(kind string) (before, after metav1.Condition) {
	if c := meta.FindStatusCondition(p.in.Pool.Status.Conditions, kind); c != nil {
		before = *c
	}
	return before, *meta.FindStatusCondition(p.plan.Status.Conditions, kind)
}

// tellProgress says what begins, what is over and what is stuck. What comes
// between, such as the wait for a session, is the condition's alone.
func (p *planning) tellProgress() {
	before, after := p.change(v1alpha1.ConditionProgressing)
	idle := before.Status != metav1.ConditionTrue
	rollout := p.in.Pool.Status.Revision != p.in.Revision
	switch after.Reason {
	case before.Reason:
	case v1alpha1.ReasonUnschedulable, v1alpha1.ReasonPodsDoNotStart, v1alpha1.ReasonForbidden:
		p.event(corev1.EventTypeWarning, after.Reason, after.Message)
	case v1alpha1.ReasonScalingUp, v1alpha1.ReasonScalingDown, v1alpha1.ReasonRollingOut:
		if idle || rollout {
			p.event(corev1.EventTypeNormal, after.Reason, after.Message)
		}
	case v1alpha1.ReasonUpToDate:
		if before.Reason != "" {
			p.event(corev1.EventTypeNormal, after.Reason, after.Message)
		}
	}
}

// tellReady is silent while pods come and go: servers are missing then, and the
// events of the progress say why.
func (p *planning) tellReady() {
	before, after := p.change(v1alpha1.ConditionReady)
	_, progress := p.change(v1alpha1.ConditionProgressing)
	quiet := progress.Status == metav1.ConditionTrue
	switch {
	case after.Reason == before.Reason:
	case after.Reason == v1alpha1.ReasonQuarantined:
		p.event(corev1.EventTypeWarning, after.Reason, after.Message)
	case quiet || before.Reason == "" || after.Status == metav1.ConditionUnknown:
	case after.Status == metav1.ConditionTrue:
		p.event(corev1.EventTypeNormal, after.Reason, after.Message)
	case before.Status == metav1.ConditionTrue:
		p.event(corev1.EventTypeWarning, after.Reason, after.Message)
	}
}

func (p *planning) tellTracker() {
	before, after := p.change(v1alpha1.ConditionTrackerReady)
	switch {
	case after.Reason == before.Reason:
	case after.Reason == v1alpha1.ReasonListening:
		p.event(corev1.EventTypeNormal, after.Reason, after.Message)
	case p.in.Tracker.Reason != "":
		p.event(corev1.EventTypeWarning, after.Reason, after.Message)
	}
}
