package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// Sweeping is driven by the deaths of children (SIGCHLD): killing an orphan
// makes its children orphans, by its death. The timer is for what gives no
// signal, and backs off between these bounds; processes that are known to be
// unkillable are looked at rarely.
const (
	minSweepPause  = time.Millisecond
	maxSweepPause  = 20 * time.Millisecond
	rareSweepPause = time.Second
)

// sweepPasses bounds one sweep, so that a tree which forks as fast as it is
// killed does not keep the loop from other workers.
const sweepPasses = 8

// childSignal looks at what a SIGCHLD may mean.
func (s *supervisor) childSignal() {
	s.reapWorkers()
	if !s.orphans.empty() || zombieWaits() {
		s.sweepDue = true
	}
}

// reapWorkers takes the ends of the workers that have ended.
func (s *supervisor) reapWorkers() {
	for _, w := range s.workers {
		s.reapWorker(w)
	}
}

// reapWorker takes the end of a worker, if it has ended and nobody has noticed.
func (s *supervisor) reapWorker(w *worker) {
	if w.child == nil || w.life.Reaped() {
		return
	}
	e, ok := s.children.reap(w.child.pid)
	if !ok {
		return
	}
	w.reapedIn = s.orphans.round
	e.PeakMemory = w.child.group.peakMemory()
	if e.Signal == unix.SIGKILL && w.life.Killed() == "" {
		e.OOM = s.ranOut(w)
	}
	s.act(w, w.life.Exited(time.Now(), e))
}

// ranOut tells whether the kernel killed for lack of memory during a worker's
// life: in its own group if it has one that counts, else in the agent's.
func (s *supervisor) ranOut(w *worker) bool {
	if kills, ok := w.child.group.oomKills(); ok {
		return kills > 0 // others may have run out in the same moment
	}
	now, ok := s.oom.read()
	return ok && now > w.oomBefore
}

// sweep kills and reaps orphans, kills what is below workers that are to die,
// and ends the lives of those whose trees are gone.
func (s *supervisor) sweep() {
	living, ok := s.sweepOrphans()
	if ok {
		s.orphans.update(living)
		s.acquit()
	}
	s.reapWorkers()
	waiting, patient := false, true
	for _, w := range s.workers {
		if !w.life.Dying() {
			continue
		}
		if s.treeGone(w) {
			s.act(w, w.life.TreeGone())
			continue
		}
		waiting = true
		patient = patient && w.life.Unkillable()
	}
	s.planSweep(waiting || !s.orphans.empty() || !ok, patient)
}

// treeGone tells whether nothing of a worker is left: it is reaped, a listing
// that began later found no orphan that can be its own, and its group is empty.
func (s *supervisor) treeGone(w *worker) bool {
	if !w.life.Reaped() || w.reapedIn >= s.orphans.round || s.orphans.blocks(w.aliveIn) {
		return false
	}
	if w.child.group.populated() {
		w.child.group.kill()
		return false
	}
	return true
}

// acquit notes which workers live: the orphans seen so far are not theirs. A
// worker that is ending does not count as alive, for the last of its threads
// may still be at it when its children have become orphans.
func (s *supervisor) acquit() {
	for _, w := range s.workers {
		if w.child == nil || w.life.Reaped() {
			continue
		}
		if p, err := s.proc.stat(w.child.pid); err == nil && !p.exiting {
			w.aliveIn = s.orphans.round
		}
	}
}

// planSweep sets the timer of the next sweep.
func (s *supervisor) planSweep(needed, patient bool) {
	if !needed {
		s.sweepPause = 0
		s.sweepTimer.Stop()
		return
	}
	limit := maxSweepPause
	if patient {
		limit = rareSweepPause
	}
	s.sweepPause = min(max(2*s.sweepPause, minSweepPause), limit)
	s.sweepTimer.Reset(s.sweepPause)
}

// sweepOrphans kills all orphans with their descendants, and the descendants of
// workers that were sent SIGKILL, and returns the orphans that live on. ok is
// false if the processes cannot be listed.
func (s *supervisor) sweepOrphans() (living []process, ok bool) {
	for range sweepPasses {
		roots := s.dying()
		all, orphans, ok := s.strike(len(roots) == 0)
		if !ok {
			return nil, false
		}
		reaped := false
		living = living[:0]
		for _, p := range orphans {
			if reapOrphan(p.pid) {
				reaped = true
				continue
			}
			living = append(living, p)
			roots = append(roots, p.pid)
		}
		for _, p := range all.descendants(roots...) {
			s.proc.signalExactly(p, unix.SIGKILL)
		}
		if !reaped {
			break
		}
	}
	return living, true
}

// dying returns the pids of workers that were sent SIGKILL and are not reaped.
func (s *supervisor) dying() []int {
	var out []int
	for _, w := range s.workers {
		if w.life.Dying() && !w.life.Reaped() {
			out = append(out, w.child.pid)
		}
	}
	return out
}

// strike lists all processes and kills each orphan as soon as it is seen, with
// its group: some live for less time than the listing takes. If quick is set
// the list may be empty where there are no orphans.
func (s *supervisor) strike(quick bool) (all forest, orphans []process, ok bool) {
	s.children.list(func(workers map[int]struct{}) {
		if quick && s.onlyWorkers(workers) {
			ok = true
			return
		}
		var err error
		all, err = s.proc.snapshot(func(p process) {
			_, worker := workers[p.pid]
			mayKill := s.proc.orphaned(p) && s.strangers[p.pid] != p.start
			if worker || !mayKill && !s.proc.leftToUs(p) {
				return
			}
			orphans = append(orphans, p)
			if p.state == 'Z' {
				return
			}
			_ = unix.Kill(p.pid, unix.SIGKILL)
			// A fork cannot slip through the killing of its group. All members
			// are descendants of the same worker: they share a session, and it
			// is not the agent's.
			if _, live := workers[p.group]; !live && p.group > 1 {
				_ = unix.Kill(-p.group, unix.SIGKILL)
			}
		})
		if err != nil {
			s.log.Error("processes cannot be listed", "error", err)
		}
		ok = err == nil
	})
	return all, orphans, ok
}

// onlyWorkers tells, where the kernel makes it cheap, that the agent has no
// children but its workers.
func (s *supervisor) onlyWorkers(workers map[int]struct{}) bool {
	pids, ok := s.proc.children()
	for _, pid := range pids {
		_, worker := workers[pid]
		ok = ok && worker
	}
	return ok
}
