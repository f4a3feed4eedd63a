//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"
)

// checker takes in what happens and judges each session when all that can still
// come of it has come. It has no clock and does no I/O; it keeps of a session
// that is judged no more than the times of its calls, for a while.
type checker struct {
	bounds  bounds
	visits  []visit // not judged, in the order of their ends
	records map[int][]record
	hits    [][]hit // by server + 1, in the order of their times
	spans   [][]span
	judged  map[int]bool

	tally  tally
	broken func(violation) // told of each; nil: nobody is
}

// span is the time in which a device certainly served a session.
type span struct {
	number      int
	first, last time.Time
}

// What the checker keeps.
const (
	// settleTime is how long after its end a session is judged: by then even a
	// sidecar that waits for a stopped agent has recorded it.
	settleTime = 20 * time.Second
	// memoryTime is how long hits and spans are kept: longer than any session.
	memoryTime = 3 * time.Minute
	// missTime is how long after a kill a grant may lead to nothing.
	missTime = 3 * time.Second
	// lostTime is how long after a session's end a kill may still lose its record.
	lostTime = 3 * time.Second
)

// How many violations are kept to be printed: one rule that is broken often must
// not hide the others.
const (
	maxViolations = 20
	maxOfRule     = 6
)

func newChecker(b bounds, servers int) *checker {
	return &checker{
		bounds: b, records: map[int][]record{}, hits: make([][]hit, servers+1), spans: make([][]span, servers+1), judged: map[int]bool{},
		tally: tally{sessions: map[way]map[string]int{}, broken: map[string]int{}},
	}
}

// hit takes in what is about to be done; it returns how to say when it is over.
func (c *checker) hit(h hit) (over func(at time.Time, kind hitKind)) {
	list := &c.hits[h.server+1]
	*list = append(*list, h)
	return func(at time.Time, kind hitKind) {
		for i := range *list {
			if (*list)[i].at.Equal(h.at) && (*list)[i].pid == h.pid {
				(*list)[i].until, (*list)[i].kind = at, kind
			}
		}
	}
}

// record takes in what a sidecar recorded.
func (c *checker) record(r record) {
	if c.judged[r.number] {
		c.broke(violation{ruleRecorded, fmt.Sprintf("session %d: a record that nobody waited for: %s", r.number, r)})
		return
	}
	c.records[r.number] = append(c.records[r.number], r)
}

// visit takes in what a client saw, when it has ended.
func (c *checker) visit(v visit) {
	if v.end == endNotSent {
		return
	}
	c.visits = append(c.visits, v)
	if v.server >= 0 && !v.first.IsZero() && !v.last.IsZero() {
		c.exclude(v)
	}
}

// exclude checks that a session does not overlap another one's on its device.
func (c *checker) exclude(v visit) {
	list := &c.spans[v.server+1]
	for _, s := range *list {
		if s.first.Before(v.last) && v.first.Before(s.last) {
			c.broke(violation{ruleExcl, fmt.Sprintf("session %d was served from %s to %s, and meanwhile\n\t%s",
				s.number, s.first.Format("05.000"), s.last.Format("05.000"), v)})
		}
	}
	*list = append(*list, span{v.program.number, v.first, v.last})
}

// judge judges the sessions that ended long enough before now; all of them if
// the run is over.
func (c *checker) judge(now time.Time, all bool) {
	rest := c.visits[:0]
	for _, v := range c.visits {
		if !all && now.Sub(v.ended) < settleTime {
			rest = append(rest, v)
			continue
		}
		c.one(c.story(v))
		delete(c.records, v.program.number)
		c.judged[v.program.number] = true
	}
	clear(c.visits[len(rest):])
	c.visits = rest
	old := now.Add(-memoryTime)
	for i := range c.hits {
		c.hits[i] = slices.DeleteFunc(c.hits[i], func(h hit) bool { return h.at.Before(old) })
		c.spans[i] = slices.DeleteFunc(c.spans[i], func(s span) bool { return s.last.Before(old) })
	}
}

// touching lists the hits that may have touched a session.
func (c *checker) touching(v visit) (list []hit) {
	from, to := v.granted.Add(-c.bounds.before), v.ended.Add(c.bounds.after)
	for _, h := range c.hits[v.server+1] {
		if h.end(to).After(from) && h.at.Before(to) {
			list = append(list, h)
		}
	}
	return list
}

// story gathers what is known of a session that has ended.
func (c *checker) story(v visit) story {
	s := story{visit: v, records: c.records[v.program.number]}
	if v.server >= 0 {
		s.hits, s.after = c.touching(v), c.later(v)
	}
	return s
}

// later lists the hits after a session's end that may have lost its record.
func (c *checker) later(v visit) (list []hit) {
	for _, h := range c.hits[v.server+1] {
		if !h.at.Before(v.ended.Add(c.bounds.after)) && h.at.Before(v.ended.Add(lostTime)) {
			list = append(list, h)
		}
	}
	return list
}

// one judges a session.
func (c *checker) one(s story) {
	c.count(s)
	for _, v := range s.judge(c.bounds) {
		c.broke(v)
	}
	for _, m := range s.visit.misses {
		if c.tally.misses++; m.server < 0 || !c.excused(m) {
			c.broke(s.broken(ruleGrant, "server %d at %s: %s", m.server, m.at.Format("05.000"), m.end))
		}
	}
}

// excused tells whether a grant may have led to nothing: something had happened
// to its server, or to the tracker that gave it.
func (c *checker) excused(m miss) bool {
	for _, h := range slices.Concat(c.hits[m.server+1], c.hits[0]) {
		if h.at.Before(m.at) && m.at.Sub(h.end(m.at)) < missTime {
			return true
		}
	}
	return false
}

// finish judges all that is left, and what belongs to nothing.
func (c *checker) finish(now time.Time) {
	c.judge(now, true)
	for number, list := range c.records {
		c.broke(violation{ruleDoor, fmt.Sprintf("session %d, of nobody, is recorded: %v", number, list)})
	}
}

// settled tells whether every session that has ended and must be on record is.
func (c *checker) settled() bool {
	for _, v := range c.visits {
		s := c.story(v)
		if v.program.way.session() && !v.admitted.IsZero() && len(s.records) == 0 && !s.mayBeLost() {
			return false
		}
	}
	return true
}
