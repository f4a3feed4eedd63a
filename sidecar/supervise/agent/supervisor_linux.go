package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// outputWait bounds the wait for the rest of a dead worker's output.
const outputWait = 200 * time.Millisecond

// maxMissed bounds the ends of workers that are kept while no sidecar listens.
const maxMissed = 64

// supervisor is the agent: one goroutine ([supervisor.loop]) owns all of its
// state; others only wait for the world and post what happened to the inbox.
type supervisor struct {
	o        Options
	log      *slog.Logger
	launcher *launcher
	children *children
	proc     *procfs
	root     *workRoot
	oom      oomCounter
	inbox    chan func()
	ended    chan struct{} // closed when the loop no longer reads the inbox
	waiters  sync.WaitGroup

	// strangers are the children, by pid with their start time, that the
	// process had before it became an agent: they are left alone.
	strangers map[int]uint64

	workers  map[string]*worker
	link     *link
	missed   []supervise.Event // ends that no sidecar was told of
	stopping bool

	orphans    orphanage
	sweepDue   bool
	sweepPause time.Duration
	sweepTimer *time.Timer
}

// worker is one worker: its life, and what the shell holds for it.
type worker struct {
	id        string
	life      *life
	child     *child // nil: no process yet
	sessionFD int    // of a session on its way to a warm worker; else -1
	timer     *time.Timer
	armed     time.Time // for when the timer is set
	oomBefore uint64
	aliveIn   int // the last round of sweeping after which it was alive and not ending
	reapedIn  int // the round after which it was reaped
}

// post has the loop run f. It is false if the loop has ended.
func (s *supervisor) post(f func()) bool {
	select {
	case s.inbox <- f:
		return true
	case <-s.ended:
		return false
	}
}

// loop runs the agent until ctx is done and all workers are gone, but for those
// that cannot be killed.
func (s *supervisor) loop(ctx context.Context, childSignals <-chan os.Signal) error {
	stop := ctx.Done()
	for {
		select {
		case f := <-s.inbox:
			f()
		case <-childSignals:
			s.childSignal()
		case <-s.sweepTimer.C:
			s.sweepDue = true
		case <-stop:
			stop = nil
			s.stop()
		}
		for s.sweepDue {
			s.sweepDue = false
			s.sweep()
		}
		if s.stopping && s.idle() {
			return s.leftAlive()
		}
	}
}

// stop begins the agent's own end: every worker is killed, none is started.
func (s *supervisor) stop() {
	s.stopping = true
	s.log.Info("agent stops", "workers", len(s.workers))
	for _, w := range s.sorted() {
		s.act(w, w.life.kill(time.Now(), supervise.CauseKilledDrain, w.life.start.KillGrace))
	}
}

// idle tells whether there is nothing left to wait for.
func (s *supervisor) idle() bool {
	for _, w := range s.workers {
		if !w.life.unkillable || w.life.phase == cleaning {
			return false
		}
	}
	return true
}

func (s *supervisor) leftAlive() error {
	var ids []string
	for _, w := range s.sorted() {
		ids = append(ids, w.id)
	}
	if len(ids) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrUnkillable, strings.Join(ids, ", "))
}

func (s *supervisor) sorted() []*worker {
	out := make([]*worker, 0, len(s.workers))
	for _, w := range s.workers {
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b *worker) int { return strings.Compare(a.id, b.id) })
	return out
}

// act does what a worker's life asks for and sets its timer.
func (s *supervisor) act(w *worker, effects []effect) {
	for _, e := range effects {
		switch e {
		case emitStarted:
			s.emit(supervise.Event{Kind: supervise.EventStarted, Worker: w.id, PID: w.child.pid})
		case emitReady:
			s.emit(supervise.Event{Kind: supervise.EventReady, Worker: w.id})
		case emitUnkillable:
			s.log.Error("worker outlives SIGKILL", "worker", w.id, "pid", w.child.pid)
			s.emit(s.unkillable(w))
		case handOver:
			s.handOver(w)
		case sendTerm:
			s.sendTerm(w)
		case sendKill:
			s.sendKill(w)
		case sweep:
			s.sweepDue, s.sweepPause = true, 0
		case clean:
			s.clean(w)
		}
	}
	s.arm(w)
}

// arm sets the worker's timer to what its life waits for.
func (s *supervisor) arm(w *worker) {
	switch wake := w.life.wake; {
	case wake.Equal(w.armed):
	case wake.IsZero():
		w.armed = wake
		w.timer.Stop()
	case w.timer == nil:
		w.armed = wake
		w.timer = time.AfterFunc(time.Until(wake), func() { s.post(func() { s.tick(w) }) })
	default:
		w.armed = wake
		w.timer.Reset(time.Until(wake))
	}
}

func (s *supervisor) tick(w *worker) {
	w.armed = time.Time{}
	s.act(w, w.life.tick(time.Now()))
}

// launched continues a start: the process exists, or could not be made.
func (s *supervisor) launched(w *worker, c *child, err error) {
	if err != nil {
		w.life.failure, w.life.phase = err.Error(), cleaning
		s.gone(w, nil)
		return
	}
	w.child = c
	s.wait(c.output.collect)
	s.wait(func() {
		failure := c.execFailure()
		s.post(func() { s.act(w, w.life.execResult(time.Now(), failure)) })
	})
	if c.control != nil {
		s.wait(func() {
			c.watchControl(func() { s.post(func() { s.act(w, w.life.signalReady()) }) })
			s.post(func() { s.act(w, w.life.controlLost(time.Now())) })
		})
	}
	s.log.Debug("worker started", "worker", w.id, "pid", c.pid)
	s.act(w, w.life.forked(time.Now()))
	s.reapWorkers() // its SIGCHLD may have come too early
}

// wait runs f, which waits for the world, beside the loop.
func (s *supervisor) wait(f func()) { s.waiters.Go(f) }

// handOver gives the worker its session.
func (s *supervisor) handOver(w *worker) {
	fd := w.sessionFD
	w.sessionFD = -1
	err := w.child.give(w.life.session, fd)
	closeFD(fd)
	if err != nil {
		s.log.Warn("session not handed over", "worker", w.id, "error", err)
		s.act(w, w.life.rejectSession(time.Now(), err.Error()))
	}
}

// clean removes what a worker whose tree is gone has left, beside the loop: it
// may take a while.
func (s *supervisor) clean(w *worker) {
	c := w.child
	s.wait(func() {
		c.output.stop(outputWait)
		if c.control != nil {
			_ = c.control.Close()
		}
		err := errors.Join(c.group.remove(), c.dir.remove())
		output := c.output.tail()
		s.post(func() {
			if err != nil {
				s.log.Error("worker leaves something behind", "worker", w.id, "error", err)
			}
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
	report := w.life.report(time.Now(), output)
	s.logEnd(w, report)
	s.emit(supervise.Event{
		Kind: supervise.EventExited, Worker: w.id, Session: sessionID(w.life.session), Report: report,
	})
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

func sessionID(session *supervise.Session) string {
	if session == nil {
		return ""
	}
	return session.ID
}

// unkillable is the event that says so.
func (s *supervisor) unkillable(w *worker) supervise.Event {
	return supervise.Event{
		Kind: supervise.EventUnkillable, Worker: w.id, Session: sessionID(w.life.session),
		Report: w.life.report(time.Now(), w.child.output.tail()),
	}
}

// emit tells the sidecar; without one, the ends of workers are kept for the next.
func (s *supervisor) emit(e supervise.Event) {
	switch {
	case s.link != nil:
		s.link.push(e)
	case e.Kind == supervise.EventExited:
		s.keep(e)
	}
}

func (s *supervisor) keep(events ...supervise.Event) {
	for _, e := range events {
		if e.Kind == supervise.EventExited {
			s.missed = append(s.missed, e)
		}
	}
	s.missed = s.missed[max(0, len(s.missed)-maxMissed):]
}

// abandon lets go of the workers that could not be killed, so that the agent
// can end.
func (s *supervisor) abandon() {
	for _, w := range s.workers {
		if w.timer != nil {
			w.timer.Stop()
		}
		closeFD(w.sessionFD)
		if w.child != nil {
			w.child.close()
		}
	}
}

// sendTerm asks the whole tree to end. Stopped processes are continued, else
// they could not.
func (s *supervisor) sendTerm(w *worker) {
	pid := w.child.pid
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGCONT} {
		_ = unix.Kill(-pid, signal)
	}
	all, err := s.proc.snapshot(func(process) {})
	if err != nil {
		return // SIGKILL follows
	}
	for _, p := range all.descendants(pid) {
		if p.group != pid {
			s.proc.signalExactly(p, unix.SIGTERM)
			s.proc.signalExactly(p, unix.SIGCONT)
		}
	}
}

// sendKill kills what can be killed at once. The sweep that follows does the
// rest: descendants outside of the group.
func (s *supervisor) sendKill(w *worker) {
	w.child.group.kill()
	if !w.life.reaped {
		_ = unix.Kill(-w.child.pid, unix.SIGKILL)
		_ = unix.Kill(w.child.pid, unix.SIGKILL)
	}
}
