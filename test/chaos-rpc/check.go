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
	groups   []group
	runs     []run
	frozen   []frozen
	slack    time.Duration // between the decision that a run starts and the note of it: all processes compete for a few cores
}

// findings are what the checker says.
type findings struct {
	calls    map[string]int // by code and execution
	kinds    map[string]int // of what is special about some
	broken   []string
	runs     int
	given    int // results that servers have given to calls
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
	told   map[string]*outcome
	f      findings
}

// check compares what was told with what ran. The promises are those of package
// session.
func check(h *history) *findings {
	c := &checker{history: h, byCall: map[string][]run{}, byWho: map[string][]run{}, asked: map[string]time.Duration{}, told: map[string]*outcome{}}
	c.f.calls, c.f.kinds = map[string]int{}, map[string]int{}
	for _, r := range h.runs {
		c.f.runs++
		c.byCall[r.call] = append(c.byCall[r.call], r)
		who := from(r.call, false) + " " + r.server
		c.byWho[who] = append(c.byWho[who], r)
	}
	for _, runs := range c.byWho {
		slices.SortFunc(runs, func(a, b run) int { return int(a.at - b.at) })
	}
	for i := range h.outcomes {
		o := &h.outcomes[i]
		c.asked[o.call] = o.asked
		if c.told[o.call] != nil {
			c.broke("%s has two outcomes", o.call)
		}
		c.told[o.call] = o
	}
	for i := range h.outcomes {
		c.count(&h.outcomes[i])
		c.afterwards(&h.outcomes[i])
	}
	for call, runs := range c.byCall {
		if c.told[call] == nil {
			c.f.untold++
			if len(runs) > 1 && !strings.Contains(call, "i") {
				c.broke("%s has no outcome and ran %d times", call, len(runs))
			}
		}
	}
	c.lanes()
	for _, r := range h.runs {
		c.given(r)
	}
	c.together()
	return &c.f
}

// kinds are the letters in the names of calls.
var kinds = map[string]string{"l": "in a lane", "o": "one-way", "h": "hedged", "n": "that need results of others", "g": "in a group"} //nolint:gochecknoglobals // constant

func (c *checker) broke(format string, args ...any) {
	c.f.broken = append(c.f.broken, fmt.Sprintf(format, args...))
}

// count checks how often a call ran.
func (c *checker) count(o *outcome) {
	c.f.calls[fmt.Sprintf("%v, %v", o.code, o.execution)]++
	if o.attempts > 1 {
		c.f.attempts++
	}
	for letter, kind := range kinds {
		if strings.Contains(o.call, letter) {
			c.f.kinds[kind]++
		}
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

// given checks that a run was given the results that its call needs: those of calls that have
// run, and have not failed.
func (c *checker) given(r run) {
	if o := c.told[r.call]; o != nil && !slices.EqualFunc(o.needs, r.given, func(n string, g result) bool { return n == g.call }) {
		c.broke("%s needs the results of %s, and was given %v", r.call, o.needs, r.given)
		return
	}
	for _, g := range r.given {
		c.f.given++
		o := c.told[g.call]
		switch before := c.byCall[g.call]; {
		case !slices.ContainsFunc(before, func(b run) bool { return b.at <= r.at }):
			c.broke("%s was given a result of %s, which had not run", r.call, g.call)
		case o == nil || o.code != session.OK && o.code != session.Failed:
		case o.code == session.Failed && !o.idempotent: // else another run of it may not have
			c.broke("%s was given a result of %s, which had failed", r.call, g.call)
		case o.code == session.OK && o.sum != g.sum:
			c.broke("%s was given another result of %s than its caller was", r.call, g.call)
		}
	}
}

// together checks that calls of a group had ended when its caller went on.
func (c *checker) together() {
	members := map[string]int{}
	over := map[string]time.Duration{}
	for _, g := range c.groups {
		over[g.name] = g.over
	}
	for i := range c.outcomes {
		o := &c.outcomes[i]
		if at, ended := over[o.group]; ended {
			members[o.group]++
			if o.told > at {
				c.broke("%s outlives its group", o.call)
			}
		}
	}
	for _, g := range c.groups {
		if members[g.name] != g.calls {
			c.broke("group %s is over, and %d of its %d calls have an outcome", g.name, members[g.name], g.calls)
		}
	}
}
