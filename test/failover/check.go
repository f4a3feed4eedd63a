//go:build linux

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Rules: what is promised.
const (
	ruleTicket = "a ticket lets one client in"
	ruleAlone  = "a device serves one session at a time"
	ruleDouble = "a device is granted to one client at a time"
	ruleLost   = "no device is lost"
	rulePods   = "no pod is deleted or replaced"
	ruleWait   = "no client waits for ever"
	ruleCut    = "no session is cut"
	ruleEnd    = "operators end as they should"
	ruleLeft   = "nothing is left"
)

func rules() []string {
	return []string{ruleTicket, ruleAlone, ruleDouble, ruleLost, rulePods, ruleWait, ruleCut, ruleEnd, ruleLeft}
}

// waitMost is how long a request may take: far more than a failover does.
const waitMost = time.Minute

// facts is all that a run has shown.
type facts struct {
	settle, lease time.Duration
	visits        []*visit
	failovers     []failover
	devices       []string          // addresses
	idle          []string          // those that served nobody after the last failover
	free          []string          // those that were free in the end
	before, after map[string]string // UIDs of pods by name
	deleted       []string          // pods, during the run
	unlike        string            // how tracker and status were in the end, if not as in the beginning
	ends          []string          // of operators, other than they should be
	gaveUp        int               // operators that ended by themselves: they could not renew
	left          []string          // processes
	took          time.Duration     // from the first failover to the end of the load
}

// violation is a promise that was broken.
type violation struct{ rule, what string }

// verdict is what follows from facts.
type verdict struct {
	*facts
	violations []violation
	broken     map[string]int

	sessions   int // that were let in and came to their end
	granted    int
	stale      int // granted, and refused at the door
	missed     int // granted, and the server did not listen
	retries    int // requests that a tracker's end has ended
	busy       int // granted while the device was busy
	busyAwoken int // the same, by a leader that had been frozen and did not know yet that it leads no more
	across     int // sessions in progress when a leader went
	spanning   int // of them, those that the next one was told of
}

// maxOfRule is how many violations of one rule are kept to be printed.
const maxOfRule = 5

func (v *verdict) broke(rule, format string, a ...any) {
	if v.broken[rule]++; v.broken[rule] <= maxOfRule {
		v.violations = append(v.violations, violation{rule, fmt.Sprintf(format, a...)})
	}
}

// check decides whether the promises were kept.
func check(f facts) *verdict {
	v := &verdict{facts: &f, broken: map[string]int{}}
	v.count()
	v.tickets()
	onDevice := map[string][]*visit{}
	for _, x := range f.visits {
		if !x.entered.IsZero() {
			onDevice[x.device] = append(onDevice[x.device], x)
		}
	}
	for _, device := range slices.Sorted(maps.Keys(onDevice)) {
		v.apart(ruleAlone, onDevice[device], func(x *visit) time.Time { return x.entered })
		v.apart(ruleDouble, onDevice[device], func(x *visit) time.Time { return x.granted })
	}
	v.busyGrants(onDevice)
	v.across, v.spanning = v.inProgress()
	v.devicesAndPods()
	for _, what := range f.ends {
		v.broke(ruleEnd, "%s", what)
	}
	for _, what := range f.left {
		v.broke(ruleLeft, "%s", what)
	}
	return v
}

// count looks at each visit by itself.
func (v *verdict) count() {
	for _, x := range v.visits {
		if !x.granted.IsZero() {
			v.granted++
		}
		if end := cmp.Or(x.granted, x.failed); end.Sub(x.requested) > waitMost || x.why == failWaiting {
			v.broke(ruleWait, "%s", x)
		}
		switch {
		case x.why == failSession:
			v.broke(ruleCut, "%s", x)
		case !x.left.IsZero():
			v.sessions++
		case x.why == failTracker:
			v.retries++
		case x.why == failDoor:
			v.stale++
		case x.why == failReach:
			v.missed++
		}
	}
}

// tickets looks whether one has let two in.
func (v *verdict) tickets() {
	used := map[string]*visit{}
	for _, x := range v.visits {
		if x.entered.IsZero() {
			continue
		}
		if other := used[x.ticket]; other != nil {
			v.broke(ruleTicket, "%s, and\n\t%s", other, x)
		}
		used[x.ticket] = x
	}
}

// apart looks whether visits of one device overlap, each from start on until its
// client leaves. A client leaves before its server can let the next one in, and
// is let in before it knows: those that are apart at the server are apart here.
func (v *verdict) apart(rule string, visits []*visit, start func(*visit) time.Time) {
	slices.SortFunc(visits, func(a, b *visit) int { return start(a).Compare(start(b)) })
	var last *visit
	for _, x := range visits {
		if last != nil && start(x).Before(last.end()) {
			v.broke(rule, "%s, and\n\t%s", last, x)
		}
		if last == nil || x.end().After(last.end()) {
			last = x
		}
	}
}

// busyGrants counts grants of devices that another client was using.
func (v *verdict) busyGrants(onDevice map[string][]*visit) {
	awake := map[int]time.Time{} // operators that were frozen, from when on
	for _, f := range v.failovers {
		if f.kind == freeze {
			awake[f.victim] = f.at
		}
	}
	for _, visits := range onDevice {
		slices.SortFunc(visits, func(a, b *visit) int { return a.entered.Compare(b.entered) })
	}
	for _, x := range v.visits {
		if x.granted.IsZero() {
			continue
		}
		visits := onDevice[x.device]
		i, _ := slices.BinarySearchFunc(visits, x.granted, func(y *visit, at time.Time) int { return y.entered.Compare(at) })
		if i == 0 || !x.granted.Before(visits[i-1].end()) {
			continue
		}
		if at, frozen := awake[x.operator]; frozen && x.granted.After(at) {
			v.busyAwoken++
		} else {
			v.busy++
		}
	}
}

// inProgress counts the sessions that saw a leader go, and those that saw the
// next one come, too, and were told to it.
func (v *verdict) inProgress() (across, spanning int) {
	for _, f := range v.failovers {
		for _, x := range v.visits {
			if x.entered.IsZero() || !x.entered.Before(f.at) || !x.end().After(f.at) {
				continue
			}
			across++
			if !f.granted.IsZero() && x.end().After(f.registered) {
				spanning++
			}
		}
	}
	return across, spanning
}

// devicesAndPods compares the end with the beginning.
func (v *verdict) devicesAndPods() {
	for _, d := range v.devices {
		if !slices.Contains(v.free, d) {
			v.broke(ruleLost, "device %s was not free in the end", d)
		}
	}
	if v.unlike != "" {
		v.broke(ruleLost, "in the end: %s", v.unlike)
	}
	for _, d := range v.idle {
		v.broke(ruleLost, "device %s served nobody after the last failover", d)
	}
	for _, name := range slices.Sorted(maps.Keys(v.before)) {
		if v.after[name] != v.before[name] {
			v.broke(rulePods, "pod %s was %s and is %q", name, v.before[name], v.after[name])
		}
	}
	if len(v.after) > len(v.before) {
		v.broke(rulePods, "there were %d pods and are %d", len(v.before), len(v.after))
	}
	if len(v.deleted) > 0 {
		v.broke(rulePods, "deleted: %s", strings.Join(v.deleted, ", "))
	}
}
