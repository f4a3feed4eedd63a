package agent

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// connect makes conn the connection to the sidecar, in place of an older one,
// and tells it what there is.
func (s *supervisor) connect(conn *supervise.Conn) {
	if s.link != nil {
		s.log.Info("sidecar connects anew")
		s.link.close()
	} else {
		s.log.Info("sidecar connects")
	}
	l := newLink(conn)
	s.link = l
	l.push(supervise.Event{Kind: supervise.EventHello, Hello: s.hello()}, -1)
	for _, w := range s.sorted() {
		if w.sessionFD >= 0 && !w.life.Unkillable() {
			l.push(supervise.Event{Kind: supervise.EventAdopt, Worker: w.id, Session: w.life.Session()}, w.sessionFD)
		}
	}
	for _, e := range s.ends.list {
		l.push(e.event, e.fd)
	}
	for _, w := range s.sorted() {
		if w.life.Unkillable() {
			l.push(s.unkillable(w), w.sessionFD)
			w.told = true
			w.forgetSession()
		}
	}
	// The end of a link is its reader's to tell: what a sidecar said before it
	// died counts.
	s.wait(func() { _ = l.write() })
	s.wait(func() {
		s.disconnected(l, l.read(
			func(c supervise.Command, fd int) {
				if !s.post(func() { s.command(l, c, fd) }) {
					closeFD(fd)
				}
			},
			func(err error) { s.log.Warn("sidecar sends nonsense", "error", err) },
		))
	})
}

// disconnected is called when a link's reader or writer has ended.
func (s *supervisor) disconnected(l *link, err error) {
	s.post(func() {
		if s.link != l {
			return
		}
		s.log.Info("sidecar is gone", "error", err)
		s.link = nil
		l.close()
		for _, e := range s.ends.list {
			s.letGoLater(e)
		}
	})
}

// tell tells the sidecar, if there is one.
func (s *supervisor) tell(e supervise.Event) {
	if s.link != nil {
		s.link.push(e, -1)
	}
}

// end tells the sidecar, or else the next one, of an end. It owns fd.
func (s *supervisor) end(e supervise.Event, fd int) {
	kept := s.ends.add(e, fd)
	if s.link != nil {
		s.link.push(kept.event, -1) // it has a descriptor of its own
		return
	}
	s.letGoLater(kept)
}

// letGoLater closes an end's descriptor, and with it a client's connection,
// unless a sidecar takes it up in time.
func (s *supervisor) letGoLater(e end) {
	if e.fd >= 0 {
		time.AfterFunc(orphanTime, func() {
			s.post(func() {
				if s.link == nil {
					s.ends.letGo(e.event.Seq)
				}
			})
		})
	}
}

func (s *supervisor) hello() *supervise.Hello {
	h := &supervise.Hello{
		Version: supervise.ProtocolVersion, PID: os.Getpid(), Instance: s.instance, Starts: s.starts,
		MemoryLimit: s.memory, Command: s.o.Command, Stopping: s.stopping, Unbounded: s.launcher.groups.unbounded(),
	}
	for _, w := range s.sorted() {
		known := supervise.HelloWorker{ID: w.id, State: w.life.State(), Session: w.life.Session()}
		if known.Session != nil {
			known.Age = w.life.Age(time.Now())
		}
		h.Workers = append(h.Workers, known)
	}
	return h
}

// command does what the sidecar asks. It owns fd.
func (s *supervisor) command(l *link, c supervise.Command, fd int) {
	if s.link != l && c.Op != supervise.OpAck { // what is on record is, whoever says so
		closeFD(fd)
		return
	}
	switch c.Op {
	case supervise.OpStart:
		s.start(c, fd)
	case supervise.OpSession:
		s.session(c, fd)
	case supervise.OpKill:
		closeFD(fd)
		s.kill(c)
	case supervise.OpAck:
		closeFD(fd)
		s.ends.ack(c.Seq)
	case supervise.OpPing:
		closeFD(fd)
		s.tell(supervise.Event{Kind: supervise.EventPong})
	default:
		closeFD(fd)
		s.log.Warn("unknown command", "op", c.Op, "worker", c.Worker)
	}
}

// start starts a worker. Every start is answered: by started and what follows,
// or by exited.
func (s *supervisor) start(c supervise.Command, fd int) {
	if _, exists := s.workers[c.Worker]; exists {
		closeFD(fd)
		s.log.Error("start of a worker that exists already is ignored", "worker", c.Worker)
		return
	}
	if c.Start == nil {
		c.Start = &supervise.Start{}
	}
	w := &worker{
		id: c.Worker, life: supervise.NewLife(time.Now(), *c.Start, c.Session), sessionFD: -1, aliveIn: s.orphans.round,
	}
	argv := c.Start.Argv
	if len(argv) == 0 {
		argv = s.o.Command
	}
	if err := s.checkStart(c, fd, argv); err != nil {
		s.log.Warn("start refused", "worker", c.Worker, "error", err)
		w.life.Refuse(err.Error())
		w.sessionFD = fd
		s.gone(w, nil)
		return
	}
	if c.Session == nil {
		closeFD(fd)
		fd = -1
	}
	w.sessionFD = fd
	s.workers[w.id] = w
	w.oomBefore, _ = s.oom.read()
	s.arm(w)
	kept := fd
	fd = duplicateFD(kept)
	if kept >= 0 && fd < 0 {
		w.life.Refuse("no descriptor is left for the session")
		s.gone(w, nil)
		return
	}
	o := order{worker: w.id, argv: argv, start: *c.Start, session: c.Session, fd: fd}
	s.launcher.do(func() {
		child, err := s.launcher.launch(o)
		s.post(func() { s.launched(w, child, err) })
	})
}

func (s *supervisor) checkStart(c supervise.Command, fd int, argv []string) error {
	switch {
	case s.stopping:
		return errors.New("the agent is stopping")
	case len(argv) == 0:
		return errors.New("no worker command: neither the start nor the agent names one")
	case c.Session != nil && fd < 0:
		return errors.New("start with a session came without its descriptor")
	case len(s.workers) >= s.o.MaxWorkers:
		return fmt.Errorf("%d workers exist already", len(s.workers))
	}
	return checkWorkerID(c.Worker)
}

// session hands a session to a warm worker. If that cannot be, the worker's
// end is the answer; one that has a session keeps it.
func (s *supervisor) session(c supervise.Command, fd int) {
	w := s.workers[c.Worker]
	if w == nil {
		closeFD(fd)
		s.log.Info("session for a worker that is gone", "worker", c.Worker)
		return
	}
	var effects []supervise.Effect
	err := errors.New("session came without its descriptor or its description")
	if fd >= 0 && c.Session != nil {
		effects, err = w.life.GiveSession(time.Now(), c.Session)
	}
	if err == nil {
		w.sessionFD = fd
		s.act(w, effects)
		return
	}
	closeFD(fd)
	s.log.Warn("session refused", "worker", w.id, "error", err)
	if w.life.Session() == nil {
		s.act(w, w.life.RejectSession(time.Now(), err.Error()))
	}
}

// kill kills a worker's tree. A worker that is gone was reported already.
func (s *supervisor) kill(c supervise.Command) {
	w := s.workers[c.Worker]
	if w == nil {
		s.log.Debug("kill of a worker that is gone", "worker", c.Worker)
		return
	}
	var k supervise.Kill
	if c.Kill != nil {
		k = *c.Kill
	}
	if !slices.Contains(supervise.Causes(), k.Cause) {
		s.log.Warn("kill for no known cause", "worker", w.id, "cause", k.Cause)
		k.Cause = supervise.CauseKilledDrain
	}
	s.act(w, w.life.Kill(time.Now(), k.Cause, k.Grace))
}
