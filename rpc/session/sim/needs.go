package sim

import (
	"bytes"
	"slices"

	"rpcpool.dev/rpc/session"
)

// want lets a new call need results of others that its program has made, if they have promised
// theirs, and promises its own.
func (p *program) want(c *call) {
	w := p.w
	if !w.one(p.r.mix.needs) {
		c.promise = p.client.Promise(&c.inv)
	}
	if w.one(p.r.mix.needs) {
		return
	}
	most := 1 + w.rng.IntN(3)
	const deepest = 3 // a longer chain may not end in time, one call after the other
	for _, of := range slices.Backward(p.r.truth.calls) {
		if of.client == p.client && of.promise != nil && of.depth < deepest && w.one(2) && (!of.done || of.inv.Outcome.Code == session.OK || w.one(20)) {
			c.needs, c.depth = append(c.needs, of), max(c.depth, of.depth+1)
			c.inv.Needs = append(c.inv.Needs, of.promise)
		}
		if len(c.needs) == most {
			return
		}
	}
}

// assign gives a call to a server, or lets it wait for the results that it needs.
func (p *program) assign(c *call, at *seat) []session.Demand {
	if c.inv.Needs != nil {
		where := p.client.Where(&c.inv)
		if where == nil || of(where).retired || of(where).dead || p.w.one(20) {
			return p.client.Await(&c.inv, nil)
		}
		at = of(where)
	}
	if c.at = at; at == nil {
		return p.client.NoServer(&c.inv, nil)
	}
	return p.client.Assign(p.clock.now(), &c.inv, at.peer, nil)
}

// supply puts the results into a call's arguments.
func (p *program) supply(c *call) {
	p.r.cover.events[suppliedHere]++
	var results [][]byte
	for _, pr := range c.inv.Needs {
		results = append(results, pr.Outcome.Reply)
	}
	c.inv.Args = appendGiven(c.inv.Args[:8:8], results)
	c.inv.Supplied()
	p.w.logf("program %d: call %d has the results that it needs", p.name, c.id)
	p.perform(p.assign(c, p.any()))
}

// queue takes an entry that may start, with the results that it needs.
func (s *server) queue(e *session.Entry) {
	if e.Needy() {
		results, ok := s.domain.Results(e, nil)
		if !ok {
			s.next = append(s.next, s.domain.Refuse(e, session.Unmet, nil, nil)...)
			return
		}
		if s.r.mutant.onSupply != nil {
			s.r.mutant.onSupply(results)
		}
		s.r.cover.events[suppliedThere]++
		e.Supplied(appendGiven(e.Args[:8:8], results), 0)
	}
	s.ready = append(s.ready, e)
}

// appendGiven appends results, each with its length in front.
func appendGiven(dst []byte, results [][]byte) []byte {
	for _, b := range results {
		dst = append(append(dst, byte(len(b))), b...)
	}
	return dst
}

// supplied checks what a call is given that is about to run.
func (t *truth) supplied(c *call, given []byte) {
	for _, of := range c.needs {
		if len(given) == 0 {
			t.broke("call %d runs without the result of call %d", c.id, of.id)
			return
		}
		n := int(given[0])
		result := given[1 : 1+n]
		given = given[1+n:]
		if !slices.ContainsFunc(of.starts, func(x *start) bool { return x.reply != nil && bytes.Equal(x.reply, result) }) {
			t.broke("call %d is given a result that no run of call %d has had", c.id, of.id)
		}
	}
	if len(given) > 0 {
		t.broke("call %d is given %d bytes too many", c.id, len(given))
	}
}

// unmet checks what is said of a call whose needs are not met.
func (t *truth) unmet(c *call) {
	t.r.cover.events[unmetCalls]++
	if !slices.ContainsFunc(c.needs, func(of *call) bool { return of.done && of.inv.Outcome.Code != session.OK }) {
		t.broke("call %d is said to need what has failed, and nothing has", c.id)
	}
}

func needMutants() []Mutant {
	return []Mutant{
		{
			Name: "a call does not wait for what it needs", Breaks: "without the result",
			onReceive: func(_ *server, _ *link, m *session.Message) { m.Needs = nil },
		},
		{
			Name: "results are mixed up", Breaks: "that no run of",
			onSupply: slices.Reverse[[][]byte],
		},
	}
}
