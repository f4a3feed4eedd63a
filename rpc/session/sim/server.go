package sim

import (
	"encoding/binary"
	"slices"
	"time"

	"rpcpool.dev/rpc/session"
)

// server is a server's process, its workers and its disk.
type server struct {
	node
	r       *run
	name    int
	clock   clock
	pace    int // one handler in so many is slow
	running bool
	life    uint64
	id      session.ID
	domain  *session.Domain
	journal []session.Record
	conns   session.Conn
	links   map[session.Conn]*link
	apart   map[*program]time.Duration // until when a client cannot reach it

	ready []*session.Entry
	busy  []*job // by worker
}

// job is a run of a call in a worker.
type job struct {
	call  *call
	entry *session.Entry
	start *start
}

func (r *run) newServer(name int) *server {
	s := &server{
		node: node{w: r.w}, r: r, name: name, clock: r.w.clock(),
		apart: map[*program]time.Duration{}, pace: 1 + r.w.rng.IntN(8),
	}
	s.busy = make([]*job, 1+r.w.rng.IntN(3))
	s.boot()
	return s
}

// boot starts the process. What it finds of its journal is all that it knows.
func (s *server) boot() {
	s.life++
	s.running = true
	s.links = map[session.Conn]*link{}
	s.ready = nil
	clear(s.busy)
	if s.journal == nil {
		s.id = session.ID{byte(s.name), byte(s.life)}
	}
	s.domain = session.NewDomain(s.id, s.life, session.DomainOptions{
		Journal: true, Lease: lease, Open: windowMost, Strikes: 2, StrikeWindow: time.Minute,
		ReplyBytes: 64, DomainBytes: 256,
	})
	now := s.clock.now()
	for i := range s.journal {
		s.domain.Restore(now, &s.journal[i])
	}
	if s.journal != nil && len(s.journal) > 64 {
		s.journal = slices.Collect(s.domain.Records())
	}
	s.journal = append(s.journal, session.Record{}) // says that there is one
	s.w.logf("server %d: life %d of domain %x", s.name, s.life, s.id[:2])
	s.tick(s.life)
}

func (s *server) tick(life uint64) {
	if s.running && s.life == life {
		s.perform(s.domain.Tick(s.clock.now(), nil))
		s.when(lease/8, func() { s.tick(life) })
	}
}

// crash ends the process, its connections and its workers.
func (s *server) crash() {
	if !s.running {
		return
	}
	s.running = false
	s.w.logf("server %d: crash", s.name)
	for _, j := range s.busy {
		if j != nil {
			j.start.over = true
		}
	}
	for n := session.Conn(1); n <= s.conns; n++ {
		if l := s.links[n]; l != nil && l.accepted {
			l.accepted = false
			l.closed(s.w.between(0, 300*time.Millisecond))
		}
	}
	if s.w.one(4) {
		s.journal = nil
	}
	s.w.after(s.w.between(time.Millisecond, 400*time.Millisecond), func() {
		if !s.running && !s.r.gone[s] {
			s.boot()
		}
	})
}

// point is a place in which the process may crash. It tells whether it has.
func (s *server) point(name crashPoint) bool {
	s.r.cover.passed[name]++
	if !s.w.fault(300) {
		return false
	}
	s.r.cover.crashed[name]++
	s.w.logf("server %d: crash at %s", s.name, name)
	s.crash()
	return true
}

func (s *server) receive(l *link, m *session.Message) {
	now := s.clock.now()
	s.w.logf("server %d ← %d: %s", s.name, l.id, show(m))
	s.r.mutant.received(s, l, m)
	if m.Kind == session.Hello {
		var fx []session.Effect
		l.session, fx = s.r.mutant.hello(s, now, l, m)
		s.perform(fx)
		return
	}
	if l.session == nil {
		return
	}
	if m.Kind == session.Call {
		s.r.truth.received(s.r.call(m.Body), l.session.ID())
	}
	s.perform(s.domain.Receive(now, l.session, l.accept, m, nil))
}

// perform carries effects out. Between any two the process may crash.
func (s *server) perform(fx []session.Effect) {
	fx = s.r.mutant.effects(s, fx)
	for i := range fx {
		e := &fx[i]
		if s.point(before(e)) {
			return
		}
		switch e.Do {
		case session.Send:
			if l := s.links[e.Conn]; l != nil {
				s.w.logf("server %d → %d: %s", s.name, l.id, show(&e.Msg))
				l.toClient(e.Msg)
			}
		case session.Append:
			if s.point(tornRecord) {
				return
			}
			s.journal = append(s.journal, e.Record())
		case session.Queue:
			s.ready = append(s.ready, e.Entry)
		case session.Execute:
			s.execute(e.Entry)
		case session.Interrupt:
			s.interrupt(e.Entry)
		case session.Close:
			if l := s.links[e.Conn]; l != nil {
				s.r.truth.broke("a connection was closed for misuse")
			}
		}
		if s.point(after(e)) {
			return
		}
	}
	s.dispatch()
}

// dispatch gives what is ready to workers that are free.
func (s *server) dispatch() {
	for s.running && len(s.ready) > 0 && slices.Contains(s.busy, nil) {
		i := 0
		if s.w.one(3) {
			i = s.w.rng.IntN(len(s.ready))
		}
		e := s.ready[i]
		s.ready = slices.Delete(s.ready, i, i+1)
		if s.w.fault(100) {
			s.perform(s.domain.Refuse(e, nil))
			return
		}
		fx := s.r.mutant.start(s, s.clock.now(), e)
		if len(fx) > 0 {
			s.perform(fx)
			return
		}
	}
}

// execute hands a call to a worker, which may be dead before it has it, may die
// before or after its effect, and may take its time.
func (s *server) execute(e *session.Entry) {
	c := s.r.call(e.Args)
	if s.w.fault(60) {
		s.r.cover.passed[workerDeadBefore]++
		fx := s.domain.Unstarted(e, nil)
		s.w.after(0, func() { s.alive(s.life, func() { s.perform(fx) }) })
		return
	}
	worker := slices.Index(s.busy, nil)
	j := &job{call: c, entry: e, start: s.r.truth.started(s, e.XID(), c)}
	s.busy[worker] = j
	e.Tag = j
	s.w.logf("server %d: call %d runs", s.name, c.id)
	takes := s.w.between(10*time.Microsecond, 2*time.Millisecond)
	if s.w.one(s.pace) {
		takes = s.w.between(0, 60*time.Millisecond)
	}
	life := s.life
	s.when(takes/2, func() {
		s.current(life, worker, j, func() {
			if c.poison || s.w.fault(25) {
				s.r.cover.passed[workerDeadIdle]++
				s.die(worker, j, true)
				return
			}
			s.r.truth.effect(c)
			s.when(takes/2, func() { s.current(life, worker, j, func() { s.end(worker, j) }) })
		})
	})
}

func (s *server) end(worker int, j *job) {
	if s.w.fault(25) {
		s.r.cover.passed[workerDeadAfter]++
		s.die(worker, j, true)
		return
	}
	s.busy[worker] = nil
	j.start.over, j.start.completed = true, true
	s.perform(s.domain.Return(j.entry, session.OK, s.r.reply(j.call), nil))
}

// die lets a worker die with the call that it runs.
func (s *server) die(worker int, j *job, guilty bool) {
	s.w.logf("server %d: the worker of call %d dies", s.name, j.call.id)
	s.busy[worker] = nil
	j.start.over = true
	s.perform(s.domain.Crash(s.clock.now(), j.entry, guilty, nil, nil))
}

// interrupt tells a handler that nobody waits: it may heed that, be killed, or go on.
func (s *server) interrupt(e *session.Entry) {
	j, _ := e.Tag.(*job)
	worker := slices.Index(s.busy, j)
	if j == nil || worker < 0 {
		return
	}
	life := s.life
	switch s.w.rng.IntN(3) {
	case 0:
		s.when(s.w.between(0, 5*time.Millisecond), func() {
			s.current(life, worker, j, func() { s.die(worker, j, false) })
		})
	case 1:
		s.when(s.w.between(0, 5*time.Millisecond), func() {
			s.current(life, worker, j, func() {
				s.busy[worker] = nil
				j.start.over, j.start.completed = true, true
				s.perform(s.domain.Return(e, session.Failed, nil, nil))
			})
		})
	}
}

// alive does something unless the process has ended since.
func (s *server) alive(life uint64, do func()) {
	if s.running && s.life == life {
		do()
	}
}

// current does something unless the process or that job has ended since.
func (s *server) current(life uint64, worker int, j *job, do func()) {
	if s.running && s.life == life && s.busy[worker] == j {
		do()
	}
}

func encode(id int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(id)) }

func decode(b []byte) int {
	if len(b) != 8 {
		return -1
	}
	return int(binary.LittleEndian.Uint64(b))
}
