//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rpcpool.dev/rpc/session"
)

// frozen is a time in which a server did nothing.
type frozen struct {
	server   string // number
	from, to time.Duration
}

// history is all that is known afterwards.
type history struct {
	outcomes []outcome
	runs     []run
	frozen   []frozen
	slack    time.Duration // between the decision that a run starts and the note of it: all processes compete for a few cores
}

// findings are what the checker says.
type findings struct {
	calls    map[string]int // by code and execution
	broken   []string
	runs     int
	again    int // runs of idempotent calls beyond the first
	untold   int // calls that ran and whose client did not live to note their outcome
	excused  int // runs that were noted late by a server that was frozen
	slow     int // runs that were noted after their deadline, by servers that knew
	slowest  time.Duration
	late     int // calls that ended long after their deadline
	maxLate  time.Duration
	attempts int // calls that more than one server has had
}

// checker has the history in order.
type checker struct {
	*history
	byCall map[string][]run
	byWho  map[string][]run // by client and server, by time
	asked  map[string]time.Duration
	f      findings
}

// check compares what was told with what ran. The promises are those of package
// session.
func check(h *history) *findings {
	c := &checker{history: h, byCall: map[string][]run{}, byWho: map[string][]run{}, asked: map[string]time.Duration{}}
	c.f.calls = map[string]int{}
	for _, r := range h.runs {
		c.f.runs++
		c.byCall[r.call] = append(c.byCall[r.call], r)
		who := from(r.call, false) + " " + r.server
		c.byWho[who] = append(c.byWho[who], r)
	}
	for _, runs := range c.byWho {
		slices.SortFunc(runs, func(a, b run) int { return int(a.at - b.at) })
	}
	told := map[string]bool{}
	for i := range h.outcomes {
		o := &h.outcomes[i]
		c.asked[o.call] = o.asked
		if told[o.call] {
			c.broke("%s has two outcomes", o.call)
		}
		told[o.call] = true
	}
	for i := range h.outcomes {
		c.count(&h.outcomes[i])
		c.afterwards(&h.outcomes[i])
	}
	for call, runs := range c.byCall {
		if !told[call] {
			c.f.untold++
			if len(runs) > 1 && !strings.Contains(call, "i") {
				c.broke("%s has no outcome and ran %d times", call, len(runs))
			}
		}
	}
	c.lanes()
	return &c.f
}

func (c *checker) broke(format string, args ...any) {
	c.f.broken = append(c.f.broken, fmt.Sprintf(format, args...))
}

// count checks how often a call ran.
func (c *checker) count(o *outcome) {
	c.f.calls[fmt.Sprintf("%v, %v", o.code, o.execution)]++
	if o.attempts > 1 {
		c.f.attempts++
	}
	n := len(c.byCall[o.call])
	if o.idempotent && n > 1 {
		c.f.again += n - 1
	}
	switch {
	case o.execution > session.Executed || o.code >= session.Codes:
		c.broke("%s: no such outcome", o)
	case o.code == session.OK && o.execution != session.Executed,
		o.code == session.NoServer && o.execution == session.Executed:
		c.broke("%s: code and execution contradict each other", o)
	case o.execution == session.NotExecuted && n > 0,
		o.execution == session.Executed && (n == 0 || n > 1 && !o.idempotent),
		o.execution == session.Indeterminate && n > 1 && !o.idempotent:
		c.broke("%v, %v, but it ran %d times: %s%v", o.code, o.execution, n, o, c.byCall[o.call])
	case o.code == session.OK && !o.whole:
		c.broke("another call's reply: %s", o)
	}
}

// afterwards checks what ran after its outcome was told, or after its deadline.
func (c *checker) afterwards(o *outcome) {
	if over := o.told - o.until; o.until != 0 && over > time.Second {
		c.f.late++
		c.f.maxLate = max(c.f.maxLate, over)
	}
	for _, r := range c.byCall[o.call] {
		if o.until != 0 && r.at > o.until {
			c.pastDeadline(o, r)
		}
		if r.at <= o.told+c.slack || o.idempotent && o.execution == session.Executed {
			continue // an idempotent call that has its result may still run elsewhere
		}
		switch broken := c.tooLate(o, r); {
		case broken == "":
		case c.wasFrozen(r):
			c.f.excused++
		default:
			c.broke("%s: %s%v", broken, o, r)
		}
	}
}

// pastDeadline looks at a run that was noted after its deadline: its server must have
// known.
func (c *checker) pastDeadline(o *outcome, r run) {
	if r.left > 0 {
		c.broke("its server thought that there are %v left, %v after its deadline: %s%v", r.left, r.at-o.until, o, r)
	}
	c.f.slow, c.f.slowest = c.f.slow+1, max(c.f.slowest, r.at-o.until)
}

// tooLate says which promise a run breaks that was noted long after its outcome was told;
// empty: none.
func (c *checker) tooLate(o *outcome, r run) string {
	switch {
	case o.code == session.DeadlineExceeded || o.until != 0 && r.at > o.until+c.slack:
		return fmt.Sprintf("started %v after its deadline", r.at-o.until)
	case o.execution == session.NotExecuted:
		return "started after that was said"
	}
	if later := c.overtaken(o, r); later != "" {
		return "started after a later call, " + later
	}
	return ""
}

// overtaken returns a call that was made after o's outcome, and ran at the same server
// before this run of o.
func (c *checker) overtaken(o *outcome, r run) string {
	for _, later := range c.byWho[from(o.call, false)+" "+r.server] {
		if later.at >= r.at-c.slack {
			return ""
		}
		if c.asked[later.call] > o.told {
			return later.call
		}
	}
	return ""
}

// wasFrozen tells whether a run's server was frozen shortly before it was noted.
func (c *checker) wasFrozen(r run) bool {
	number, _, _ := strings.Cut(r.server, ".")
	return slices.ContainsFunc(c.frozen, func(f frozen) bool {
		return f.server == number && r.at >= f.from && r.at <= f.to+c.slack
	})
}

// lanes checks that calls of a lane neither overlapped nor changed places.
func (c *checker) lanes() {
	byLane := map[string][]run{}
	for _, r := range c.runs {
		if strings.Contains(r.call, "l") {
			key := from(r.call, true) + " " + r.server + " " + r.who // another session waits for none of the last one
			byLane[key] = append(byLane[key], r)
		}
	}
	seen := map[int]time.Duration{} // when a process has noted something last
	for _, r := range c.runs {
		seen[r.pid] = max(seen[r.pid], r.at, r.over)
	}
	for key, runs := range byLane {
		slices.SortFunc(runs, func(a, b run) int { return int(a.at - b.at) })
		for i, r := range runs[1:] {
			before := runs[i]
			switch {
			case before.over > r.at, before.over == 0 && (before.pid == r.pid || seen[before.pid] > r.at): // else its worker is dead
				c.broke("lane %s: %s runs while %s does", key, r.call, before.call)
			case c.asked[r.call] != 0 && c.asked[r.call] < c.asked[before.call]:
				c.broke("lane %s: %s runs after %s", key, r.call, before.call)
			}
		}
	}
}
