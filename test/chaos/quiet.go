//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds of memory, in bytes, and of growth.
const (
	agentMemory   = 10 << 20
	sidecarMemory = 20 << 20
	spareFDs      = 2 // the runtime opens its poller late
)

// quiesce takes a census until nothing is amiss, and, given one from before,
// nothing has grown; after within it takes what there is.
func (c *chaos) quiesce(ctx context.Context, within time.Duration, before *census) census {
	deadline := time.Now().Add(within)
	quiet := 0
	for {
		now := c.fleet.take(ctx)
		if before != nil {
			now.compare(*before)
			if !c.book.settled() {
				now.add(ruleRecorded, "some sessions are not recorded yet")
			}
		}
		if quiet++; len(now.problems) > 0 {
			quiet = 0
		}
		const enough = 3 // in a row: what is quiet stays so
		if quiet == enough || time.Now().After(deadline) || ctx.Err() != nil {
			return now
		}
		pause(ctx, 200*time.Millisecond)
	}
}

// note makes violations of what a census found.
func (c *chaos) note(found census, when string) {
	for _, v := range found.problems {
		if v.rule != ruleRecorded { // each session is judged by itself
			c.book.broke(violation{v.rule, when + v.what})
		}
	}
}

// compare adds what has grown since an earlier census, and what is too large.
func (c *census) compare(before census) {
	for _, name := range slices.Sorted(maps.Keys(c.fds)) {
		if was, known := before.fds[name]; known && c.fds[name] > was+spareFDs {
			c.add(ruleFDs, "%s has %d descriptors, and had %d", name, c.fds[name], was)
		}
		limit := map[string]float64{"agent": agentMemory, "sidecar": sidecarMemory}
		kind, _, _ := strings.Cut(name, " ")
		if most, bounded := limit[kind]; bounded && c.rss[name] > most {
			c.add(ruleMemory, "%s has %.1f MiB of at most %.0f, and had %.1f",
				name, c.rss[name]/(1<<20), most/(1<<20), before.rss[name]/(1<<20))
		}
	}
}

// serveAll makes good sessions until every device has served one.
func (c *chaos) serveAll(ctx context.Context) {
	g := &guest{fleet: c.fleet, bounds: c.bounds}
	defer g.close()
	served := map[int]bool{}
	const rounds = 10
	ctx, cancel := context.WithTimeout(ctx, quiesceTime)
	defer cancel()
	for range rounds * c.servers {
		number := int(c.number.Add(1))
		v := g.make(ctx, program{number: number, way: wayGood, timeout: generous, calls: []call{{callAddOne, number}}})
		c.book.visit(v)
		if !v.last.IsZero() && v.wrong == "" {
			served[v.server] = true
		}
		if len(served) == c.servers {
			break
		}
	}
	for i := range c.servers {
		if !served[i] {
			c.book.broke(violation{ruleDevices, fmt.Sprintf("server %d does not serve", i)})
		}
	}
	deadline := time.Now().Add(quiesceTime)
	for !c.book.settled() && time.Now().Before(deadline) {
		pause(ctx, 50*time.Millisecond)
	}
}
