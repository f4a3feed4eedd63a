package agent

import (
	"context"
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
	memory   int64 // that the agent's own group may use, in bytes; 0: no limit
	cores    *cores
	inbox    chan func()
	ended    chan struct{} // closed when the loop no longer reads the inbox
	waiters  sync.WaitGroup

	// strangers are the children, by pid with their start time, that the
	// process had before it became an agent: they are left alone.
	strangers map[int]uint64

	instance string // random, this agent's
	starts   uint64 // agents that ever started on this work root
	workers  map[string]*worker
	link     *link
	ends     ends
	stopping bool

	orphans    orphanage
	sweepDue   bool
	sweepPause time.Duration
	sweepTimer *time.Timer
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

// stop begins the agent's own end: no worker is started any more, sessions in
// progress may finish within the drain time, every other worker is killed.
func (s *supervisor) stop() {
	s.stopping = true
	s.log.Info("agent stops", "workers", len(s.workers), "drain", s.o.DrainTimeout)
	s.tell(supervise.Event{Kind: supervise.EventStopping})
	now := time.Now()
	for _, w := range s.sorted() {
		s.act(w, w.life.Drain(now, now.Add(s.o.DrainTimeout)))
	}
}

// idle tells whether there is nothing left to wait for.
func (s *supervisor) idle() bool {
	for _, w := range s.workers {
		if !w.life.Unkillable() {
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
func (s *supervisor) act(w *worker, effects []supervise.Effect) {
	for _, e := range effects {
		switch e {
		case supervise.EffectStarted:
			s.tell(supervise.Event{Kind: supervise.EventStarted, Worker: w.id, PID: w.child.pid})
		case supervise.EffectReady:
			s.tell(supervise.Event{Kind: supervise.EventReady, Worker: w.id})
		case supervise.EffectEnded:
			s.sessionEnded(w)
		case supervise.EffectUnkillable:
			s.log.Error("worker outlives SIGKILL", "worker", w.id, "pid", w.child.pid)
			s.tell(s.unkillable(w))
			if s.link != nil { // which puts the session on record
				w.told = true
				w.forgetSession()
			}
		case supervise.EffectHandOver:
			s.handOver(w)
		case supervise.EffectTerm:
			s.sendTerm(w)
		case supervise.EffectDump:
			_ = unix.Kill(-w.child.pid, w.life.Start().Dump)
		case supervise.EffectKill:
			s.sendKill(w)
		case supervise.EffectSweep:
			s.sweepDue, s.sweepPause = true, 0
		case supervise.EffectClean:
			s.clean(w)
		}
	}
	s.arm(w)
}

// arm sets the worker's timer to what its life waits for.
func (s *supervisor) arm(w *worker) {
	switch wake := w.life.Wake(); {
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
	s.act(w, w.life.Tick(time.Now()))
}

// abandon lets go of the workers that could not be killed, so that the agent
// can end.
func (s *supervisor) abandon() {
	s.ends.close()
	for _, w := range s.workers {
		w.forgetSession()
		if w.timer != nil {
			w.timer.Stop()
		}
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
	if !w.life.Reaped() {
		_ = unix.Kill(-w.child.pid, unix.SIGKILL)
		_ = unix.Kill(w.child.pid, unix.SIGKILL)
	}
}
