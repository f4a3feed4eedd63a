package agent

import (
	"errors"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// worker is one worker: its life, and what the shell holds for it.
type worker struct {
	id        string
	life      *supervise.Life
	child     *child // nil: no process yet
	sessionFD int    // our copy of its session's descriptor, from which nothing is read; else -1
	timer     *time.Timer
	armed     time.Time // for when the timer is set
	oomBefore uint64
	usage     usage    // of a long-lived worker when its session began
	sessions  uint64   // that it had
	dir       *workDir // of a long-lived worker's session
	aliveIn   int      // the last round of sweeping after which it was alive and not ending
	reapedIn  int      // the round after which it was reaped
	told      bool     // a sidecar knows that its session outlives SIGKILL
}

// cleanTime is how long the removal of what a worker left may take without a
// word: a core is copied, or a directory of a million files removed.
const cleanTime = time.Second

// forgetSession closes our copy of the session's descriptor.
func (w *worker) forgetSession() {
	closeFD(w.sessionFD)
	w.sessionFD = -1
}

// launched continues a start: the process exists, or could not be made.
func (s *supervisor) launched(w *worker, c *child, err error) {
	if err != nil {
		w.life.Refuse(err.Error())
		s.gone(w, nil)
		return
	}
	w.child = c
	s.wait(c.output.Collect)
	s.wait(func() {
		failure := c.execFailure()
		s.post(func() { s.act(w, w.life.ExecResult(time.Now(), failure)) })
	})
	if c.exited != nil {
		s.wait(func() {
			if waitEnded(c.exited) == nil {
				s.post(func() { s.reapWorker(w) })
			}
		})
	}
	if c.control != nil {
		s.wait(func() {
			c.watchControl(func(said byte) { s.post(func() { s.said(w, said) }) })
			s.post(func() { s.act(w, w.life.ControlLost(time.Now())) })
		})
	}
	if c.notify != nil {
		s.wait(func() { c.notify.receive(c.pid, func(n notice) { s.post(func() { s.notified(w, n) }) }) })
	}
	if c.quota != nil {
		s.wait(func() {
			c.quota.watch(func(why string, serial int) {
				s.post(func() {
					if c.quota.now() == serial {
						s.act(w, w.life.Exceeded(time.Now(), supervise.LimitWorkDir, why))
					}
				})
			})
		})
	}
	s.log.Debug("worker started", "worker", w.id, "pid", c.pid)
	s.act(w, w.life.Forked(time.Now()))
	s.reapWorker(w) // its SIGCHLD may have come too early
}

// wait runs f, which waits for the world, beside the loop.
func (s *supervisor) wait(f func()) { s.waiters.Go(f) }

// said handles a byte that a worker wrote to its control socket.
func (s *supervisor) said(w *worker, what byte) {
	switch what {
	case saysProtocol:
		w.life.ProtocolError()
	case saysReady:
		s.ready(w)
	}
}

// ready handles that a worker waits for a session. A long-lived one whose
// session left processes behind is of no use for the next: they would compute
// beside it, and nobody could tell whose they are.
func (s *supervisor) ready(w *worker) {
	if w.life.State() == supervise.StateBusy && s.proc.hasChildren(w.child.pid) {
		s.log.Info("session left processes behind: its worker is replaced", "worker", w.id)
		s.act(w, w.life.Kill(time.Now(), s.causeSoFar(w), 0))
		return
	}
	s.act(w, w.life.SignalReady(time.Now()))
}

// causeSoFar is how the session of a long-lived worker ended that has said so.
func (s *supervisor) causeSoFar(w *worker) supervise.Cause {
	if w.life.BrokeProtocol() {
		return supervise.CauseProtocolError
	}
	return supervise.CauseCompleted
}

// notified handles what a worker said by sd_notify.
func (s *supervisor) notified(w *worker, n notice) {
	now := time.Now()
	if n.ready {
		s.ready(w)
	}
	if n.phase != nil {
		w.life.SetPhase(now, *n.phase)
	}
	if n.beat {
		w.life.Beat(now)
	}
	if n.extend != nil {
		w.life.Extend(now, *n.extend)
	}
	if n.trip {
		s.act(w, w.life.Trip(now))
	}
	s.arm(w)
}

// handOver gives the worker its session.
func (s *supervisor) handOver(w *worker) {
	session := *w.life.Session()
	err := s.prepare(w)
	if err == nil {
		err = w.child.give(&session, w.sessionFD, w.dir)
	}
	if err != nil {
		s.log.Warn("session not handed over", "worker", w.id, "error", err)
		s.act(w, w.life.RejectSession(time.Now(), err.Error()))
		return
	}
	s.tell(supervise.Event{Kind: supervise.EventStarted, Worker: w.id, PID: w.child.pid})
}

// prepare makes what each session of a long-lived worker has anew.
func (s *supervisor) prepare(w *worker) (err error) {
	if !w.life.Start().LongLived {
		return nil
	}
	w.sessions++
	w.usage, _ = s.proc.usage(w.child.pid)
	w.child.output.Forget()
	if w.dir, err = s.root.make(sessionDir(w.id, w.sessions)); err == nil {
		w.child.quota.watchSession(w.dir)
	}
	return err
}

// sessionEnded reports the end of a session that its worker survives.
func (s *supervisor) sessionEnded(w *worker) {
	report := w.life.Report(time.Now(), w.child.output.Tail())
	if now, err := s.proc.usage(w.child.pid); err == nil {
		report.UserTime, report.SysTime = now.user-w.usage.user, now.system-w.usage.system
		report.MaxRSS = now.maxRSS
	}
	s.end(supervise.Event{
		Kind: supervise.EventEnded, Worker: w.id, Session: w.life.Session(), Report: report,
	}, w.sessionFD)
	w.sessionFD = -1
	w.life.NextSession()
	if dir := w.dir; dir != nil {
		w.dir = nil
		w.child.quota.watchSession(nil)
		s.wait(func() { s.remove(w.id, dir) })
	}
}

// remove removes a session's directory, beside the loop: it may take a while.
func (s *supervisor) remove(worker string, dir *workDir) {
	if err := dir.remove(); err != nil {
		s.post(func() { s.log.Error("session leaves something behind", "worker", worker, "error", err) })
	}
}

// clean removes what a worker whose tree is gone has left, beside the loop.
func (s *supervisor) clean(w *worker) {
	c := w.child
	late := time.AfterFunc(cleanTime, func() {
		s.post(func() { s.tell(supervise.Event{Kind: supervise.EventCleaning, Worker: w.id}) })
	})
	s.wait(func() {
		defer late.Stop()
		c.output.Stop(outputWait)
		c.closeSockets()
		core, coreErr := s.cores.keep(w.id, c, w.life.Core())
		err := errors.Join(coreErr, c.group.remove(), c.dir.remove())
		if w.dir != nil {
			err = errors.Join(err, w.dir.remove())
		}
		output := c.output.Tail()
		s.post(func() {
			if err != nil {
				s.log.Error("worker leaves something behind", "worker", w.id, "error", err)
			}
			w.life.KeptCore(core)
			s.gone(w, output)
		})
	})
}

// gone reports a worker's end and forgets it.
func (s *supervisor) gone(w *worker, output []byte) {
	if w.timer != nil {
		w.timer.Stop()
	}
	delete(s.workers, w.id)
	report := w.life.Report(time.Now(), output)
	w.life.Gone()
	s.logEnd(w, report)
	session := w.life.Session()
	if w.told {
		session = nil
	}
	s.end(supervise.Event{Kind: supervise.EventExited, Worker: w.id, Session: session, Report: report}, w.sessionFD)
	w.sessionFD = -1
}

func (s *supervisor) logEnd(w *worker, r *supervise.Report) {
	const tail = 2 << 10
	attrs := []any{"worker", w.id, "cause", r.Cause, "code", r.Code, "signal", int(r.Signal), "wall", r.Wall}
	if r.Error != "" {
		attrs = append(attrs, "error", r.Error)
	}
	if r.Cause != supervise.CauseCompleted && len(r.Output) > 0 {
		attrs = append(attrs, "output", string(r.Output[max(0, len(r.Output)-tail):]))
	}
	s.log.Debug("worker ended", attrs...)
}

// unkillable is the event that says so.
func (s *supervisor) unkillable(w *worker) supervise.Event {
	e := supervise.Event{
		Kind: supervise.EventUnkillable, Worker: w.id, Session: w.life.Session(),
		Report: w.life.Report(time.Now(), w.child.output.Tail()),
	}
	if w.told {
		e.Session = nil
	}
	return e
}
