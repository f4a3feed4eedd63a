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
	next    []session.Effect // of what happened while effects were carried out
	name    int
	clock   clock
	pace    int // one handler in so many is slow
	running bool
	drains  bool
	refers  bool // it knows calls that need results of others
	life    uint64
	id      session.ID
	domain  *session.Domain
	journal []session.Record
	synced  int           // records that a loss of power does not take
	sync    time.Duration // what it takes to make a record durable; 0: only crashes of the process are survived
	held    []held        // that wait for it
	conns   session.Conn
	links   map[session.Conn]*link
	apart   map[*program]time.Duration // until when a client cannot reach it
	epoch   int                        // as the list has it
	astray  *server                    // that answers by its name; nil: it does itself
	seats   map[*session.Client]int    // the newest that it has heard of

	ready []*session.Entry
	busy  []*job // by worker
}

// held is an effect that waits until so many records are durable.
type held struct {
	effect session.Effect
	until  int
}

// job is a run of a call in a worker.
type job struct {
	call   *call
	entry  *session.Entry
	worker int
	start  *start // nil: it is about to be handed over
	given  []byte // the results that the call needs
	reply  []byte
}

func (r *run) newServer(name int) *server {
	s := &server{
		node: node{w: r.w}, r: r, name: name, clock: r.w.clock(),
		apart: map[*program]time.Duration{}, seats: map[*session.Client]int{}, pace: 1 + r.w.rng.IntN(8),
	}
	if r.w.one(3) {
		s.sync = r.w.between(10*time.Microsecond, 5*time.Millisecond)
	}
	s.busy = make([]*job, 1+r.w.rng.IntN(3))
	s.boot()
	return s
}

// boot starts the process. What it finds of its journal is all that it knows.
func (s *server) boot() {
	s.life++
	s.running, s.drains, s.refers = true, false, !s.w.one(6)
	s.links = map[session.Conn]*link{}
	s.ready, s.held, s.next = nil, nil, nil
	clear(s.busy)
	if s.journal == nil {
		s.id = session.ID{byte(s.name), byte(s.life)}
	}
	s.domain = session.NewDomain(s.id, s.life, session.DomainOptions{
		Journal: true, Lease: lease, Open: windowMost, Strikes: 2, StrikeWindow: time.Minute,
		ReplyBytes: 24, DomainBytes: 256,
	})
	now := s.clock.now()
	for i := range s.journal {
		s.domain.Restore(now, &s.journal[i])
	}
	if len(s.journal) > 64 {
		s.journal = slices.Collect(s.domain.Records())
	}
	s.journal = append(s.journal, session.Record{}) // says that there is one
	s.synced = len(s.journal)
	s.w.logf("server %d: life %d of domain %x", s.name, s.life, s.id[:2])
	s.tick(s.life)
}

func (s *server) tick(life uint64) {
	if s.running && s.life == life {
		s.perform(s.domain.Tick(s.clock.now(), nil))
		s.when(lease/8, func() { s.tick(life) })
	}
}

// drain lets a server refuse everything until it is started again. Some of what it says
// is under way for so long that its next life has begun.
func (s *server) drain() {
	s.drains = true
	s.w.logf("server %d: drains", s.name)
	for n := session.Conn(1); n <= s.conns; n++ {
		if l := s.links[n]; l != nil && s.w.one(2) {
			l.slow += s.w.between(0, lease)
		}
	}
	life := s.life
	s.w.after(s.w.between(0, 100*time.Millisecond), func() { s.alive(life, s.crash) })
}

// crash ends the process, its connections and its workers.
func (s *server) crash() {
	if !s.running {
		return
	}
	s.running = false
	s.w.logf("server %d: crash", s.name)
	for _, j := range s.busy {
		if j != nil && j.start != nil {
			j.start.over = true
		}
	}
	for n := session.Conn(1); n <= s.conns; n++ {
		if l := s.links[n]; l != nil && l.accepted {
			l.accepted = false
			l.closed(s.w.between(0, 600*time.Millisecond))
			if s.w.fault(Second, 3) { // what comes by this one may be older than the answers by the next
				l.client.again(s.w.between(0, 300*time.Millisecond), of(l.peer))
			}
		}
	}
	switch {
	case s.w.one(4):
		s.journal = nil
	case s.sync > 0 && s.w.one(2):
		s.r.cover.events[lostRecords] += len(s.journal) - s.synced
		s.journal = s.journal[:s.synced]
	}
	most := 400 * time.Millisecond
	if s.w.one(2) {
		most /= 20
	}
	s.w.after(s.w.between(time.Millisecond, most), func() {
		if !s.running && !s.r.gone[s] {
			s.boot()
		}
	})
}

// point is a place in which the process may crash. It tells whether it has.
func (s *server) point(name crashPoint) bool {
	often := 300
	if name == beforeInterrupt || name == afterInterrupt { // which are few
		often = 60
	}
	if !s.w.fault(Point, often) {
		return false
	}
	s.r.cover.crashes[name]++
	s.w.logf("server %d: crash at %s", s.name, name)
	s.crash()
	return true
}

func (s *server) receive(l *link, m *session.Message) {
	now := s.clock.now()
	s.w.logMessage("server %d ← %d: %s", s.name, l.id, m)
	s.r.mutant.received(s, l, m)
	late := s.late(l, m)
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
		s.r.truth.received(s.r.call(m.Body), s)
		if m.Needs != nil && !s.refers {
			s.r.truth.broke("a server that knows nothing of it is asked for results of others")
		}
	}
	fx := s.domain.Receive(now, l.session, l.accept, m, nil)
	if late {
		s.r.cover.late(m, fx)
	}
	s.perform(fx)
}

// perform carries effects out, and gives what is ready to workers.
func (s *server) perform(fx []session.Effect) {
	s.carryOut(s.r.mutant.effects(s, fx))
	s.dispatch()
}

// carryOut does what it is told, in the order in which it is told. What follows a
// record waits until that is durable.
func (s *server) carryOut(fx []session.Effect) {
	for i := range fx {
		e := &fx[i]
		waits := s.synced < len(s.journal) || len(s.held) > 0
		if waits && e.Do != session.Append && e.Do != session.Interrupt {
			s.held = append(s.held, held{*e, len(s.journal)})
		} else if !s.survives(e) {
			return
		}
	}
	if fx = s.next; fx != nil {
		s.next = nil
		s.carryOut(fx)
	}
}

// survives carries one effect out, and tells whether the process still runs. It may
// crash before and after.
func (s *server) survives(e *session.Effect) bool {
	if s.point(before(e)) {
		return false
	}
	s.do(e)
	return s.running && !s.point(after(e))
}

func (s *server) do(e *session.Effect) {
	switch e.Do {
	case session.Send:
		if l := s.links[e.Conn]; l != nil {
			s.w.logMessage("server %d → %d: %s", s.name, l.id, &e.Msg)
			l.toClient(e.Msg)
		}
	case session.Append:
		if !s.point(tornRecord) {
			s.append(e.Record())
		}
	case session.Queue:
		s.queue(e.Entry)
	case session.Execute:
		s.execute(e.Entry)
	case session.Interrupt:
		s.interrupt(e.Entry)
	case session.Close:
		s.r.truth.broke("a connection was closed for misuse")
	}
}

// append writes a record. If power may be lost, it takes its time to be durable.
func (s *server) append(r session.Record) {
	s.journal = append(s.journal, r)
	n, life := len(s.journal), s.life
	if s.sync == 0 {
		s.synced = n
		return
	}
	s.w.after(s.sync, func() { s.alive(life, func() { s.durable(n) }) })
}

// durable lets happen what waited for the first n records.
func (s *server) durable(n int) {
	s.synced = max(s.synced, n)
	for len(s.held) > 0 && s.held[0].until <= s.synced {
		e := s.held[0].effect
		s.held = s.held[1:]
		if !s.survives(&e) {
			return
		}
	}
	s.perform(nil)
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
		if s.drains || s.w.fault(Refusal, 100) {
			s.perform(s.domain.Refuse(e, session.Refused, nil, nil))
			return
		}
		fx := s.domain.Take(s.clock.now(), e, nil)
		if slices.ContainsFunc(fx, executes) {
			j := &job{entry: e, call: s.r.call(e.Args), given: e.Args[8:], worker: slices.Index(s.busy, nil)}
			s.busy[j.worker], e.Tag = j, j
		}
		if len(fx) > 0 {
			s.perform(fx)
			return
		}
	}
}

func executes(e session.Effect) bool { return e.Do == session.Execute }

// execute hands a call to its worker, which may be dead before it has it, may die
// before or after its effect, and may take its time.
func (s *server) execute(e *session.Entry) {
	j, _ := e.Tag.(*job)
	ok, fx := s.r.mutant.start(s, s.clock.now(), e, j.call)
	if !ok {
		s.busy[j.worker] = nil
		s.next = append(s.next, fx...)
		return
	}
	if s.w.fault(Worker, 60) {
		s.r.cover.crashes[workerDeadBefore]++
		s.when(0, func() {
			s.current(j, func() {
				s.busy[j.worker] = nil
				s.perform(s.domain.Unstarted(e, nil))
			})
		})
		return
	}
	j.start = s.r.truth.started(s, e.XID(), j.call, j.given)
	s.w.logf("server %d: call %d runs", s.name, j.call.id)
	takes := s.w.between(10*time.Microsecond, 2*time.Millisecond)
	if s.w.one(s.pace) {
		takes = s.w.between(0, 60*time.Millisecond)
	}
	if s.w.fault(Long, 60) {
		takes = s.w.between(lease/2, 2*lease)
	}
	s.when(takes/2, func() {
		s.current(j, func() {
			if j.call.poison || s.w.fault(Worker, 25) {
				s.r.cover.crashes[workerDeadIdle]++
				s.die(j, true)
				return
			}
			j.reply = s.r.app.run(j.call)
			s.when(takes/2, func() { s.current(j, func() { s.end(j) }) })
		})
	})
}

func (s *server) end(j *job) {
	if s.w.fault(Worker, 25) {
		s.r.cover.crashes[workerDeadAfter]++
		s.die(j, true)
		return
	}
	s.complete(j, session.OK, j.reply)
}

func (s *server) complete(j *job, code session.Code, reply []byte) {
	s.busy[j.worker] = nil
	j.start.over, j.start.completed, j.start.reply = true, true, reply
	s.perform(s.domain.Return(j.entry, code, reply, nil))
}

// die lets a worker die with the call that it runs.
func (s *server) die(j *job, guilty bool) {
	s.w.logf("server %d: the worker of call %d dies", s.name, j.call.id)
	s.busy[j.worker] = nil
	j.start.over = true
	s.perform(s.domain.Crash(s.clock.now(), j.entry, guilty, nil, nil))
}

// interrupt tells a handler that nobody waits: it may be killed, heed that, or go on.
func (s *server) interrupt(e *session.Entry) {
	j, _ := e.Tag.(*job)
	s.r.cover.events[interrupted]++
	soon := s.w.between(0, 5*time.Millisecond)
	switch s.w.rng.IntN(3) {
	case 0:
		s.when(soon, func() { s.current(j, func() { s.die(j, false) }) })
	case 1:
		s.when(soon, func() { s.current(j, func() { s.complete(j, session.Failed, nil) }) })
	}
}

// alive does something unless the process has ended since.
func (s *server) alive(life uint64, do func()) {
	if s.running && s.life == life {
		do()
	}
}

// current does something unless the job has ended since, or the process.
func (s *server) current(j *job, do func()) {
	if s.running && s.busy[j.worker] == j {
		do()
	}
}

func encode(id int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(id)) }

func decode(b []byte) int {
	if len(b) < 8 {
		return -1
	}
	return int(binary.LittleEndian.Uint64(b[:8]))
}
