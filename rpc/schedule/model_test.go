package schedule

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is the queue as one would write it down: lists that are searched.
type model struct {
	limit, room int
	now         time.Duration
	wait        []*Call              // ordinary ones, by arrival
	inner       map[*Call][]*Call    // by the call that they are for, by arrival
	chains      [][]*Call            // one for each slot in use, the outermost first
	methods     map[uint32]gateModel // that have a bound
}

type gateModel struct {
	name  string
	bound int
}

// gate of the methods without a bound has bound 0.
func (m *model) gate(c *Call) gateModel { return m.methods[c.Method] }

// inside tells whether a chain has passed a gate.
func (m *model) inside(chain []*Call, g gateModel) bool {
	return g.bound > 0 && slices.ContainsFunc(chain, func(c *Call) bool { return m.gate(c) == g })
}

// open tells whether one more chain may pass a gate.
func (m *model) open(g gateModel) bool {
	n := 0
	for _, chain := range m.chains {
		if m.inside(chain, g) {
			n++
		}
	}
	return g.bound == 0 || n < g.bound
}

func (m *model) expired(c *Call) bool { return c.Deadline != 0 && m.now >= c.Deadline }

// innerReady lists the inner calls that may start. One that is too late is found no later
// than when it might pass its gate; those behind it may start then, and perhaps
// sooner.
func (m *model) innerReady(may bool) (ready []*Call) {
	for _, chain := range m.chains {
		for _, c := range m.inner[chain[len(chain)-1]] {
			passes := m.inside(chain, m.gate(c)) || m.open(m.gate(c))
			if m.expired(c) && (passes || may) {
				continue
			}
			if passes {
				ready = append(ready, c)
			}
			break
		}
	}
	return ready
}

// ready lists the ordinary calls that may start: of each client, gate and priority
// the first.
func (m *model) ready() (ready []*Call) {
	if len(m.chains) == m.limit {
		return nil
	}
	seen := map[string]bool{}
	for _, c := range m.wait {
		where := fmt.Sprint(c.Client, c.Priority, m.gate(c))
		if m.expired(c) || seen[where] {
			continue
		}
		seen[where] = true
		if m.open(m.gate(c)) {
			ready = append(ready, c)
		}
	}
	return ready
}

func (m *model) started(c *Call) {
	m.waits(c, true)
	for i, chain := range m.chains {
		if c.Under != nil && chain[len(chain)-1] == c.Under {
			m.chains[i] = append(chain, c)
			return
		}
	}
	m.chains = append(m.chains, []*Call{c})
}

func (m *model) ended(c *Call) {
	for i, chain := range m.chains {
		if at := slices.Index(chain, c); at >= 0 {
			m.chains[i] = slices.Delete(chain, at, at+1)
			if len(m.chains[i]) == 0 {
				m.chains = slices.Delete(m.chains, i, i+1)
			}
			break
		}
	}
	m.wait = append(m.wait, m.inner[c]...)
	delete(m.inner, c)
}

// waits tells whether a call waits, and takes it out if it shall not any more.
func (m *model) waits(c *Call, remove bool) bool {
	if i := slices.Index(m.wait, c); i >= 0 {
		if remove {
			m.wait = slices.Delete(m.wait, i, i+1)
		}
		return true
	}
	for up, list := range m.inner {
		if i := slices.Index(list, c); i >= 0 {
			if remove {
				m.inner[up] = slices.Delete(list, i, i+1)
			}
			return true
		}
	}
	return false
}

func (m *model) running() (all []*Call) {
	for _, chain := range m.chains {
		all = append(all, chain...)
	}
	return all
}

func (m *model) waiting() []*Call {
	all := slices.Clone(m.wait)
	for _, chain := range m.chains {
		for _, c := range chain {
			all = append(all, m.inner[c]...)
		}
	}
	return all
}

// play is a game of the queue against the model.
type play struct {
	*rapid.T
	q *Queue
	m *model
}

func (p *play) push() {
	c := &Call{
		Client:   [16]byte{byte(rapid.IntRange(1, 4).Draw(p.T, "client"))},
		Method:   uint32(rapid.IntRange(1, 5).Draw(p.T, "method")),
		Priority: Priority(rapid.IntRange(1, 3).Draw(p.T, "priority")),
	}
	if rapid.IntRange(0, 4).Draw(p.T, "hasDeadline") == 0 {
		c.Deadline = p.m.now + time.Duration(rapid.IntRange(1, 5).Draw(p.T, "deadline"))
	}
	up := p.some("under", p.m.running(), 3)
	c.Under = up
	own, inner := 0, 0
	for _, w := range p.m.wait {
		if w.Client == c.Client {
			own++
		}
	}
	for _, list := range p.m.inner {
		inner += len(list)
	}
	fits := own < p.m.room-len(p.m.wait)
	if up != nil {
		fits = inner < p.m.room
	}
	v := p.q.Push(p.m.now, c)
	if (v.Reason == Queued) != fits || !fits && v.Reason != Full {
		p.Fatalf("pushed: %v, but it fits: %v", v, fits)
	}
	switch {
	case v.Reason != Queued:
	case up != nil:
		p.m.inner[up] = append(p.m.inner[up], c)
	default:
		p.m.wait = append(p.m.wait, c)
	}
}

func (p *play) pop() {
	inner, ready := p.m.innerReady(false), p.m.ready()
	if len(inner) > 0 {
		ready = nil
	}
	must := len(inner) + len(ready)
	ready = append(ready, p.m.innerReady(true)...)
	c := p.q.Pop(p.m.now)
	if c == nil && must > 0 {
		p.Fatalf("nothing was popped, but %d calls are ready", must)
	}
	if c != nil && !slices.Contains(ready, c) {
		p.Fatalf("popped %v: it is none of the %d that are ready", c.Method, len(ready))
	}
	if c != nil {
		p.m.started(c)
	}
	p.shed()
}

func (p *play) shed() {
	for c, v := p.q.Shed(p.m.now); c != nil; c, v = p.q.Shed(p.m.now) {
		if v.Reason != Late || !p.m.expired(c) || !p.m.waits(c, true) {
			p.Fatalf("shed %v: %v", c.Method, v)
		}
	}
}

// some draws one of several calls, or with a chance of 1 in odds none.
func (p *play) some(what string, of []*Call, odds int) *Call {
	if len(of) == 0 || rapid.IntRange(1, odds).Draw(p.T, "any "+what) != 1 {
		return nil
	}
	return of[rapid.IntRange(0, len(of)-1).Draw(p.T, what)]
}

func (p *play) step() {
	switch step := rapid.IntRange(0, 9).Draw(p.T, "step"); {
	case step < 4:
		p.push()
	case step < 6:
		p.pop()
	case step < 8:
		if c := p.some("done", p.m.running(), 1); c != nil {
			if step == 6 {
				p.q.Done(p.m.now, c)
			} else {
				p.q.Unpop(c)
			}
			p.m.ended(c)
		}
	case step == 8:
		if c := p.some("removed", p.m.waiting(), 1); c != nil && (!p.q.Remove(c) || !p.m.waits(c, true)) {
			p.Fatal("a call that waits was not removed")
		}
		if c := p.some("running", p.m.running(), 1); c != nil && p.q.Remove(c) {
			p.Fatal("a call that runs was removed")
		}
	default:
		p.m.now++
	}
}

func (p *play) check() {
	d := p.q.Depth()
	if d.Waiting != len(p.m.wait) || d.Waiting+d.Inner != len(p.m.waiting()) || d.Running != len(p.m.chains) {
		p.Fatalf("depth %+v, but %d wait, %d with inner ones, %d slots are used",
			d, len(p.m.wait), len(p.m.waiting()), len(p.m.chains))
	}
	for _, g := range p.q.gates {
		for i := range g.lanes {
			p.checkLane(&g.lanes[i])
		}
	}
}

// checkLane checks that the first strands take part in the turns, and no others.
func (p *play) checkLane(l *lane) {
	n, calls := 0, 0
	for at := l.strands.Head(); at != nil; at = at.Next() {
		if at.Value.ready != (n < min(l.strands.Len(), l.gate.bound-l.gate.running)) {
			p.Fatalf("strand %d of %d is shown: %v; %d of %d run", n, l.strands.Len(), at.Value.ready, l.gate.running, l.gate.bound)
		}
		calls += at.Value.calls.Len()
		n++
	}
	if calls != l.ages.Len() || l.flows != n {
		p.Fatalf("%d calls in %d strands, want %d in %d", calls, n, l.ages.Len(), l.flows)
	}
}

// TestModel: what starts might have started, nothing idles that might run, gates and
// slots are kept, and nothing is lost.
func TestModel(t *testing.T) {
	for range 20 { // times what rapid does by itself: some mistakes are found once in a thousand games
		rapid.Check(t, game)
	}
}

func game(t *rapid.T) {
	limit, room := rapid.IntRange(1, 4).Draw(t, "limit"), rapid.IntRange(1, 20).Draw(t, "room")
	q := New(Options{Limit: limit, Queue: room, Standing: -1, Depth: 1000})
	q.Method(1, MethodOptions{Concurrency: 1, Gate: "device"})
	q.Method(2, MethodOptions{Concurrency: 5, Gate: "device"})
	q.Method(3, MethodOptions{Concurrency: 2, Gate: "pair"})
	q.Method(4, MethodOptions{})
	p := &play{T: t, q: q, m: &model{limit: limit, room: room, inner: map[*Call][]*Call{}}}
	p.m.methods = map[uint32]gateModel{1: {"device", 1}, 2: {"device", 1}, 3: {"pair", 2}}
	for range rapid.IntRange(0, 150).Draw(t, "steps") {
		p.step()
		p.check()
	}
	p.drain()
}

// drain ends everything, and nothing is left.
func (p *play) drain() {
	for range 10_000 {
		p.pop()
		all := p.m.running()
		if len(all) == 0 {
			break
		}
		c := all[len(all)-1]
		p.q.Done(p.m.now, c)
		p.m.ended(c)
	}
	p.check()
	if left := p.m.waiting(); len(left) > 0 {
		p.Fatalf("%d calls never ran", len(left))
	}
	for i := range p.q.classes {
		if n := p.q.classes[i].ring.Len(); n != 0 {
			p.Fatalf("%d clients have a turn, with nothing to run", n)
		}
	}
}
