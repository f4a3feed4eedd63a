//go:build linux

package main

import (
	"slices"
	"time"
)

// tally counts what was judged.
type tally struct {
	sessions   map[way]map[string]int // by way and by cause, or what stands for it
	touched    int
	misses     int // grants that led to nothing
	twice      int // records that a killed sidecar had no time to acknowledge
	guessed    int // agents that were killed, and are recorded as out of memory
	lost       int // sessions that need not be on record, and are not
	broken     map[string]int
	violations []violation // the first of them
	late       []time.Duration
}

func (c *checker) broke(v violation) {
	c.tally.broken[v.rule]++
	if c.broken != nil {
		c.broken(v)
	}
	if c.tally.broken[v.rule] <= maxOfRule && len(c.tally.violations) < maxViolations {
		c.tally.violations = append(c.tally.violations, v)
	}
}

// count adds a session to the tables.
func (c *checker) count(s story) {
	word := string(s.visit.end)
	switch {
	case len(s.records) > 0:
		word = s.records[0].cause
	case !s.visit.admitted.IsZero() && s.visit.program.way.session():
		word = "not recorded"
		c.tally.lost++
	}
	if len(s.records) > 1 {
		c.tally.twice++
	}
	if slices.ContainsFunc(s.records, record.guess) {
		c.tally.guessed++
	}
	byCause := c.tally.sessions[s.visit.program.way]
	if byCause == nil {
		byCause = map[string]int{}
		c.tally.sessions[s.visit.program.way] = byCause
	}
	byCause[word]++
	if len(s.hits) > 0 {
		c.tally.touched++
	}
	if told, _ := s.told(); told == "timeout" && len(s.hits) == 0 {
		c.tally.late = append(c.tally.late, s.visit.ended.Sub(s.visit.admitted.Add(s.visit.program.timeout)))
	}
}
