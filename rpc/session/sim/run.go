package sim

import (
	"io"
	"slices"
	"time"

	"rpcpool.dev/rpc/session"
)

const (
	lease      = 800 * time.Millisecond
	windowMost = 16
	stormy     = 1200 * time.Millisecond // for so long there are faults
	graceMost  = 200 * time.Millisecond  // until a program gives up what it has cancelled
	calm       = 5 * time.Second         // so much later, everything has come to its end
	slowMost   = 150 * time.Millisecond  // of a link, but of one whose server leaves
)

// run is one schedule.
type run struct {
	w        *world
	truth    *truth
	cover    *Coverage
	mutant   Mutant
	servers  []*server // those that are there
	all      []*server
	gone     map[*server]bool
	programs []*program
	lists    []list // its versions
	app      app
	mix      mix
}

// mix is what the calls of a schedule are like: one in so many.
type mix struct {
	idempotent, lane, deadline, cancel, needs, noRetry int
}

func (w *world) mix() mix {
	pick := func(n ...int) int { return n[w.rng.IntN(len(n))] }
	return mix{
		idempotent: pick(1, 3, 3, 10), lane: pick(1, 2, 2, 8), deadline: pick(1, 4, 4, 20), cancel: pick(2, 6, 6, 30),
		needs: pick(2, 4, 4, 20), noRetry: pick(1, 4, 4, 20),
	}
}

// app is what the servers serve.
type app interface {
	call(*run, *call)         // fills a new call in
	run(*call) []byte         // carries a call out, and returns the reply
	reply(*call, []byte) bool // tells whether a reply is one to that call
}

// echo returns the number of the call.
type echo struct{}

func (echo) call(r *run, c *call) {
	c.once = !r.w.one(r.mix.idempotent)
	c.poison = r.w.fault(Poison, 15)
	if r.w.one(r.mix.lane) {
		c.inv.Lane = 1 + uint64(r.w.rng.IntN(2))
	}
}

// A run's reply tells it from other runs of the call.
func (echo) run(c *call) []byte { return append(encode(c.id), byte(len(c.starts))) }

func (echo) reply(c *call, b []byte) bool { return len(b) == 9 && decode(b) == c.id }

func newRun(s Schedule, m Mutant, a app, trace io.Writer, cover *Coverage) *run {
	if s.Storm == 0 {
		s.Storm = stormy
	}
	r := &run{w: newWorld(s, trace), app: a, cover: cover, mutant: m, gone: map[*server]bool{}}
	for _, f := range m.Needs {
		r.w.often[f] = 20
	}
	r.truth, r.mix = newTruth(r), r.w.mix()
	for n := range 1 + r.w.rng.IntN(3) {
		r.servers = append(r.servers, r.newServer(n))
	}
	r.all = append(r.all, r.servers...)
	var listed list
	for _, s := range r.servers {
		listed.servers = append(listed.servers, listing{s, 0})
	}
	r.lists = append(r.lists, listed)
	for n := range 1 + r.w.rng.IntN(3) {
		r.programs = append(r.programs, r.newProgram(n))
	}
	r.disturb()
	return r
}

// disturb plans what befalls whole nodes.
func (r *run) disturb() {
	w := r.w
	sometime := func(f Fault, most int, what func() func()) {
		for range w.rng.IntN(most + 1) {
			at, do := w.between(0, stormy), what()
			if f == Leave {
				at /= 3 // most calls are made then
			}
			if at < w.schedule.Storm && w.fault(f, 1) {
				w.at(at, do)
			}
		}
	}
	server := func() *server { return r.servers[w.rng.IntN(len(r.servers))] }
	program := func() *program { return r.programs[w.rng.IntN(len(r.programs))] }
	sometime(Crash, 2, func() func() { return server().crash })
	sometime(Drain, 2, func() func() { return server().drain })
	sometime(Leave, 2, func() func() {
		s, times := server(), 1+w.rng.IntN(4)
		return func() { r.leave(s, times) }
	})
	sometime(Part, 3, func() func() {
		s, p := server(), program()
		return func() { r.part(s, p, w.between(0, 2*lease)) }
	})
	sometime(Pause, 2, func() func() {
		n := &program().node
		if s := server(); w.one(2) {
			n = &s.node
		}
		return func() { n.stopped = max(n.stopped, w.now+w.between(0, lease*5/4)) }
	})
	sometime(Astray, 2, func() func() {
		s, other := server(), server()
		return func() { r.stray(s, other) }
	})
	if w.one(5) {
		sometime(Reboot, 1, func() func() { return program().crash })
	}
	if w.one(5) {
		sometime(Replacement, 1, func() func() {
			s := server()
			return func() { r.replace(s) }
		})
	}
}

// part lets a program and a server not reach each other for a while: what is under
// way waits, and the program gives its connections up when it has waited enough.
func (r *run) part(s *server, p *program, d time.Duration) {
	r.w.logf("server %d and program %d cannot reach each other for %s", s.name, p.name, d)
	s.apart[p] = r.w.now + d
	for n := session.Conn(1); n <= p.conns; n++ {
		if l := p.links[n]; l != nil && l.server == s {
			l.closed(r.w.between(0, 300*time.Millisecond))
			r.w.after(r.w.between(0, d+300*time.Millisecond), func() { l.accepted = false })
		}
	}
}

// stray lets a server's name lead to another one for a while. Programs lose connections when that
// begins, and when it ends.
func (r *run) stray(s, other *server) {
	r.w.logf("server %d's name leads to server %d", s.name, other.name)
	s.astray = other
	lose := func() {
		for _, p := range r.programs {
			for _, at := range slices.Concat(p.seats, p.retired) {
				if at.server == s && at.link != nil && r.w.one(2) {
					at.link.closed(r.w.between(0, 20*time.Millisecond))
				}
			}
		}
	}
	lose()
	r.w.after(r.w.between(0, lease), func() {
		s.astray = nil
		lose()
	})
}

// replace ends a server for good, and starts another one in its place.
func (r *run) replace(old *server) {
	if r.gone[old] {
		return
	}
	r.gone[old] = true
	old.crash()
	by := r.newServer(len(r.all))
	r.all = append(r.all, by)
	for i, s := range r.servers {
		if s == old {
			r.servers[i] = by
		}
	}
	next := *r.latest()
	next.servers = slices.DeleteFunc(slices.Clone(next.servers), func(l listing) bool { return l.server == old })
	next.servers, next.fenced = append(next.servers, listing{by, 0}), append(slices.Clip(next.fenced), old)
	r.publish(next)
}

func (r *run) newCall(p *program) *call {
	w := r.w
	c := &call{id: len(r.truth.calls), program: p, client: p.client, issued: w.n}
	c.inv = session.Invocation{Method: 1, Sum: uint64(c.id) + 1000, Args: encode(c.id)}
	r.app.call(r, c)
	c.inv.Idempotent = !c.once
	c.noRetry = w.one(r.mix.noRetry) && c.once
	c.inv.Once = c.noRetry
	if c.poison {
		c.inv.Sum = 1
	}
	if w.one(r.mix.deadline) {
		c.inv.Deadline = p.clock.now() + w.between(time.Millisecond, p.patience())
	}
	p.want(c)
	r.truth.calls = append(r.truth.calls, c)
	r.truth.byInv[&c.inv] = c
	return c
}

// call is the one that these arguments belong to.
func (r *run) call(args []byte) *call { return r.truth.calls[decode(args)] }

// play lets everything happen, and judges it.
func (r *run) play() {
	for r.w.step(r.w.schedule.Storm) {
	}
	r.settle()
	for r.w.step(stormy + calm) {
	}
	r.truth.judge()
	for _, s := range r.servers {
		if n, bytes := s.domain.Entries(); n != 0 || bytes != 0 {
			r.truth.broke("server %d keeps %d calls and %d bytes that nobody asks for", s.name, n, bytes)
		}
	}
	for _, p := range r.programs {
		if r.w.one(2) {
			p.perform(p.client.Bye(p.clock.now(), nil))
		}
		p.ended = true
	}
	for r.w.step(stormy + calm + 2*lease) {
	}
	for _, s := range r.servers {
		if n := s.domain.Left(); n != 0 {
			r.truth.broke("server %d keeps %d sessions that have ended", s.name, n)
		}
		if n := s.domain.Sessions(); n != 0 {
			r.truth.broke("server %d keeps %d sessions of programs that are gone", s.name, n)
		}
	}
}

// settle ends what keeps nodes apart.
func (r *run) settle() {
	r.w.calm = true
	for _, s := range r.servers {
		clear(s.apart)
		s.astray = nil
		for _, l := range s.links {
			l.slow = min(l.slow, slowMost)
		}
	}
}
