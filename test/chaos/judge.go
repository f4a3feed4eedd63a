//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
)

// bounds are the times that the servers were started with, and what a busy
// machine may add to them.
type bounds struct {
	grace, reap, start time.Duration
	// before and after are how far from a session a kill may be and still touch
	// it: its effects take a moment to be noticed.
	before, after time.Duration
	slack         time.Duration // of an end that is told
}

// answerTime is how much longer than it should take a sidecar waits for an agent
// that is silent.
const answerTime = 2 * time.Second

// most is how long a session of a program may last, from being admitted to its
// client being told.
func (b bounds) most(p program, served bool) time.Duration {
	longest := p.timeout
	if !served {
		longest += b.start
	}
	return longest + b.grace + b.reap + answerTime
}

// violation is a promise that was broken.
type violation struct {
	rule string
	what string
}

// Rules, in the order in which they are printed.
const (
	ruleEnd      = "every session ends for its client, in time"
	ruleRecorded = "every session is recorded once"
	ruleCause    = "every cause is one that the program and the kills allow"
	ruleTold     = "clients are told what is recorded"
	ruleRight    = "good calls have right answers"
	ruleExcl     = "no device serves two sessions at once"
	ruleDoor     = "no session without a ticket"
	ruleGrant    = "every grant is good where nothing was killed"
	ruleAlive    = "no process ends by itself"
	ruleDevices  = "every device is free in the end, and serves"
	ruleOrphans  = "no process is left over"
	ruleFiles    = "no work directory, socket or group is left over"
	ruleFDs      = "descriptors do not grow"
	ruleMemory   = "memory stays within its bounds"
)

func rules() []string {
	return []string{
		ruleEnd, ruleRecorded, ruleCause, ruleTold, ruleRight, ruleExcl, ruleDoor, ruleGrant, ruleAlive,
		ruleDevices, ruleOrphans, ruleFiles, ruleFDs, ruleMemory,
	}
}

// story is all that is known of one session.
type story struct {
	visit   visit
	records []record
	hits    []hit // that may have touched it
	after   []hit // that came later, and may have lost its record
}

func (s story) broken(rule, format string, a ...any) violation {
	var b strings.Builder
	fmt.Fprintf(&b, format, a...)
	fmt.Fprintf(&b, "\n\t%s", s.visit)
	for _, r := range s.records {
		fmt.Fprintf(&b, "\n\t%s", r)
	}
	for _, h := range slices.Concat(s.hits, s.after) {
		fmt.Fprintf(&b, "\n\t%s", h)
	}
	return violation{rule, b.String()}
}

// judge lists the promises that were broken in a session.
func (s story) judge(b bounds) []violation {
	v := s.visit
	var list []violation
	add := func(ok bool, rule, format string, a ...any) {
		if !ok {
			list = append(list, s.broken(rule, format, a...))
		}
	}
	if v.wrong != "" {
		add(false, ruleRight, "wrong answer: %s", v.wrong)
	}
	if !v.program.way.session() || v.admitted.IsZero() {
		add(len(s.records) == 0 || v.end == endUnclear, ruleDoor, "a session of a client that was not admitted")
		add(v.end != endUnclear || len(s.hits) > 0, ruleEnd, "the handshake was not answered")
		add(v.end != endHung, ruleEnd, "the door does not close")
		return list
	}
	late := v.ended.Sub(v.admitted) - b.most(v.program, v.served) - s.stopped() - b.slack
	add(v.end != endHung && late <= 0, ruleEnd, "%s %s after it was admitted", v.end, v.ended.Sub(v.admitted))
	list = append(list, s.judgeRecords(b)...)
	if len(s.records) > 0 {
		list = append(list, s.judgeCause(b)...)
	}
	return list
}

// judgeRecords looks at how often the session was recorded.
func (s story) judgeRecords(b bounds) []violation {
	switch n := len(s.records); {
	case n == 0 && s.mayBeLost():
	case n == 0:
		return []violation{s.broken(ruleRecorded, "no record")}
	case n == 1:
	default:
		first, last := s.records[0], s.records[n-1]
		if first.id != last.id {
			return []violation{s.broken(ruleRecorded, "two sessions of one client")}
		}
		if !s.hit(func(h hit) bool {
			return h.kind.killsSidecar() && h.at.After(first.at.Add(-b.before)) && h.at.Before(last.at)
		}) {
			return []violation{s.broken(ruleRecorded, "%d records", n)}
		}
	}
	return nil
}

// mayBeLost tells whether a session need not be on record: its sidecar died
// before a worker had it, or its agent died, too.
func (s story) mayBeLost() bool {
	all := slices.Concat(s.hits, s.after)
	sidecar := slices.ContainsFunc(all, func(h hit) bool { return h.kind.killsSidecar() })
	agent := slices.ContainsFunc(all, func(h hit) bool { return h.kind.endsAgent() })
	return sidecar && (agent || !s.visit.served)
}

// judgeCause looks at what was recorded, and what the client was told.
func (s story) judgeCause(b bounds) []violation {
	var list []violation
	for _, r := range s.records {
		if !slices.Contains(supervise.Causes(), supervise.Cause(r.cause)) {
			list = append(list, s.broken(ruleCause, "cause %q is none of the enum", r.cause))
			continue
		}
		if allowed := s.allowed(r, b); !slices.ContainsFunc(allowed, func(o outcome) bool { return o.matches(r) }) {
			list = append(list, s.broken(ruleCause, "recorded as %s, code %d, signal %d; allowed: %v", r.cause, r.code, r.signal, allowed))
		}
	}
	if told, ok := s.told(); ok && !slices.ContainsFunc(s.records, func(r record) bool { return r.cause == told }) {
		list = append(list, s.broken(ruleTold, "the client was told %s", told))
	}
	touched := s.hit(func(h hit) bool { return h.kind != hitTracker })
	said := s.visit.program.way.said(supervise.Cause(s.records[0].cause))
	if !touched && !slices.Contains(said, s.visit.end) {
		list = append(list, s.broken(ruleTold, "%s, where nothing was killed", s.visit.end))
	}
	return list
}

// allowed lists how the session may be recorded.
func (s story) allowed(r record, b bounds) []outcome {
	list := s.visit.program.allowed()
	if s.visit.end == endOwn && r.at.Sub(s.visit.ended) >= b.grace {
		list = append(list, bare(supervise.CauseClientGone)) // its worker was too slow to notice
	}
	if r.duration >= s.visit.program.timeout {
		list = append(list, bare(supervise.CauseTimeout)) // true, whatever was to come first
	}
	if nap := s.visit.program.nap(); nap > 0 && r.duration >= nap {
		list = append(list, bare(supervise.CauseCompleted)) // nobody woke it, and it found its client gone
	}
	for _, h := range s.hits {
		list = append(list, h.kind.outcomes()...)
		if s.visit.end != endException { // it may have left before the worker was killed
			list = append(list, bare(supervise.CauseClientGone))
		}
		if h.kind.killsSidecar() && s.visit.end != endException {
			list = append(list, bare(supervise.CauseCompleted)) // as the worker sees a client that left
		}
		if h.kind.endsAgent() && r.guess() {
			list = append(list, bare(supervise.CauseOOM))
		}
	}
	return list
}

// told is the cause that the client was told, if it was told one by a server.
func (s story) told() (cause string, ok bool) {
	if s.visit.end != endException {
		return "", false
	}
	if strings.HasPrefix(s.visit.text, tvm.SessionTimeoutPrefix) {
		return string(supervise.CauseTimeout), true
	}
	cause, _, ok = strings.Cut(s.visit.text, ": ")
	return cause, ok && slices.Contains(supervise.Causes(), supervise.Cause(cause))
}

func (s story) hit(is func(hit) bool) bool { return slices.ContainsFunc(s.hits, is) }

// stopped is for how long its agent was stopped.
func (s story) stopped() (total time.Duration) {
	for _, h := range s.hits {
		total += h.end(s.visit.ended).Sub(h.at)
	}
	return total
}
