package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"rpcpool.dev/api/v1alpha1"
)

// progress is True as long as something goes on or will go on by itself, and
// False when there is nothing to do or nothing can be done.
func (p *planning) progress() verdict {
	obstacle, why := p.obstacle()
	waiting := p.with((*member).waiting)
	terminating := p.with(func(m *member) bool { return m.role == roleTerminating })
	failed := p.with(func(m *member) bool { return m.role == roleFailed })
	outdated := p.with(func(m *member) bool { return m.active() && m.role != roleExcess && m.outdated })
	switch {
	case p.in.Pool.DeletionTimestamp != nil:
		return yes(v1alpha1.ReasonScalingDown, "the pool is being deleted; %s left", plural(len(p.members), "pod"))
	case p.in.Refused != "" && p.missing() > 0:
		return no(v1alpha1.ReasonForbidden, "%s cannot be made%s: %s", plural(p.missing(), "pod"), p.lacking(), p.in.Refused)
	case obstacle != nil:
		return p.heldUp(obstacle, why)
	case !p.in.Tracker.Settled && (len(outdated) > 0 || p.surplus() > 0):
		t := p.trackerReady()
		return yes(t.reason, "%s to go; which servers are in a session is not known: %s",
			plural(len(outdated)+p.surplus(), "pod"), t.message)
	case p.moving():
		return p.goal(outdated)
	case len(waiting) > 0:
		return waitingForBusy(waiting)
	case len(terminating) > 0:
		return yes(v1alpha1.ReasonWaitingForTermination, "%s to end: %s",
			plural(len(terminating), "pod"), listProblems(terminating))
	case len(failed) > 0:
		return waitingToReplace(failed)
	case len(outdated) > 0:
		return p.goal(outdated)
	case p.replicas == 0:
		return no(v1alpha1.ReasonUpToDate, "no pods are asked for, and there are none")
	default:
		return no(v1alpha1.ReasonUpToDate, "%d of %d pods are of the current revision", p.replicas, p.replicas)
	}
}

// surplus is the number of active pods that are too many.
func (p *planning) surplus() int { return max(0, p.count((*member).active)-p.replicas) }

// moving says whether something happens now that is not the wait for a session
// or for the end of a pod.
func (p *planning) moving() bool {
	return p.missing() > 0 || p.count(func(m *member) bool {
		return m.pending() || m.role == roleFailed && m.deleted() || m.victim() && !m.waiting()
	}) > 0
}

// goal says what the pods that come and go come and go for.
func (p *planning) goal(outdated []*member) verdict {
	rest := p.rest()
	if n := len(p.with(func(m *member) bool { return m.role == roleExcess })); n > 0 && len(outdated) == 0 {
		return yes(v1alpha1.ReasonScalingDown, "%d of %d pods to go%s", n, len(p.members), rest)
	}
	if len(outdated) > 0 {
		updated := p.count(func(m *member) bool { return m.active() && !m.outdated })
		if !slices.ContainsFunc(outdated, (*member).victim) && p.missing() == 0 {
			rest += p.unready()
		}
		return yes(v1alpha1.ReasonRollingOut, "%d of %d pods are of the current revision%s", updated, p.replicas, rest)
	}
	started := p.count(func(m *member) bool { return m.active() && m.started() })
	return yes(v1alpha1.ReasonScalingUp, "%d of %d pods have started%s", started, p.replicas, rest)
}

// rest counts the pods that come and go, as the end of a message.
func (p *planning) rest() string {
	counts := []struct {
		n    int
		word string
	}{
		{p.count(func(m *member) bool { return m.active() && m.draining() }), "draining"},
		{p.count(func(m *member) bool { return m.role == roleTerminating || m.deleted() }), "terminating"},
		{p.count(func(m *member) bool { return m.role == roleFailed && !m.deleted() }), "failed"},
		{p.count((*member).pending), "not started"},
		{p.missing(), "to be made"},
	}
	var parts []string
	for _, c := range counts {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.word))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, ", ")
}

// unready names the servers that a rollout waits for: it replaces no more pods
// while too many servers are missing.
func (p *planning) unready() string {
	unready := p.with(func(m *member) bool { return m.role == roleKept && !m.serving() })
	if len(unready) == 0 {
		return ""
	}
	return "; waits for servers to be ready: " + listProblems(unready)
}

func (p *planning) heldUp(m *member, why string) verdict {
	stuck := p.with(func(o *member) bool {
		return o.pending() && o.Unschedulable == m.Unschedulable && (o.Unschedulable || o.Problem != "")
	})
	others := ""
	if n := len(stuck); n > 1 {
		others = fmt.Sprintf(" (and %s more like it)", plural(n-1, "pod"))
	}
	if why == v1alpha1.ReasonUnschedulable {
		return no(why, "pod %s has no node%s: %s", m.Name, others, m.Problem)
	}
	return no(why, "pod %s does not start%s: %s", m.Name, others, m.Problem)
}

// waitingForBusy names the victim that goes first at the latest.
func waitingForBusy(waiting []*member) verdict {
	first := slices.MinFunc(waiting, func(a, b *member) int { return cmp.Or(a.until.Compare(b.until), cmp.Compare(a.Ordinal, b.Ordinal)) })
	others := ""
	if n := len(waiting) - 1; n > 0 {
		others = fmt.Sprintf(" (%s to go as well)", plural(n, "other server"))
	}
	const ends = "its pod is deleted when the session is over, at %s at the latest%s"
	s := first.Server
	switch {
	case first.unheard():
		return yes(v1alpha1.ReasonWaitingForBusy,
			"the tracker has not heard of the server in pod %s, which may be in a session; its pod is deleted at %s%s",
			first.Name, clock(first.until), others)
	case s.Client == "":
		return yes(v1alpha1.ReasonWaitingForBusy, "the server in pod %s was granted to a client at %s; "+ends,
			first.Name, clock(s.Since), clock(first.until), others)
	default:
		return yes(v1alpha1.ReasonWaitingForBusy, "the server in pod %s is in a session with %s since %s; "+ends,
			first.Name, s.Client, clock(s.Since), clock(first.until), others)
	}
}

// waitingToReplace names the failed pod that is replaced next.
func waitingToReplace(failed []*member) verdict {
	first := slices.MinFunc(failed, func(a, b *member) int { return a.RetryAt.Compare(b.RetryAt) })
	message := fmt.Sprintf("pod %s has failed and is replaced at %s", first.Name, clock(first.RetryAt))
	if first.Problem != "" {
		message += ": " + first.Problem
	}
	if n := len(failed) - 1; n > 0 {
		message += fmt.Sprintf(" (%s more)", plural(n, "failed pod"))
	}
	return yes(v1alpha1.ReasonPodReplaced, "%s", message)
}
