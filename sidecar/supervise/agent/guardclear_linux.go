package agent

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clear kills and reaps all that the agent left, which is all that is below the
// guard now: the guard is a subreaper, and what lost its parent above is its
// child. So there is nothing left when it has no child. It is false if what is
// left does not die of SIGKILL.
func (g *guard) clear() bool {
	var left []process
	killed, news, pause := 0, time.Now(), minSweepPause
	seen := map[int]uint64{}
	for {
		reaped, none := g.reap()
		if none {
			break
		}
		var err error
		if left, err = g.strike(); err != nil {
			g.log.Error("processes cannot be listed", "error", err)
		} else if len(left) == 0 && len(g.strangers) > 0 {
			// The listing began after the last child was reaped, so it shows
			// one of every tree: see "Why nothing escapes".
			break
		}
		found, alive := newcomers(seen, left)
		killed += alive
		if found > 0 || reaped > 0 {
			news, pause = time.Now(), minSweepPause
			continue // do not fall behind one that forks
		}
		if time.Since(news) > g.plan.Reap {
			g.log.Error("processes that the agent left outlive SIGKILL", "processes", g.names(left))
			return false
		}
		select {
		case <-g.childEnds:
		case <-time.After(pause):
		}
		pause = min(2*pause, maxSweepPause)
	}
	if killed > 0 {
		g.log.Warn("processes that the agent left are killed", "count", killed)
	}
	return true
}

// newcomers counts the processes that were not there the last time, and those
// of them that lived; it makes seen what is there now.
func newcomers(seen map[int]uint64, left []process) (found, alive int) {
	before := maps.Clone(seen)
	clear(seen)
	for _, p := range left {
		if start, ok := before[p.pid]; !ok || start != p.start {
			found++
			if p.state != 'Z' {
				alive++
			}
		}
		seen[p.pid] = p.start
	}
	return found, alive
}

// strike kills what is below the guard, and returns what was there, with what
// had ended and is not reaped.
func (g *guard) strike() (left []process, err error) {
	left, err = g.strikeIn(g.proc)
	if err == nil && len(left) == 0 {
		// In the guard's own session there is hardly ever anything: what the
		// agent was about to make a worker of.
		left, err = g.strikeIn(g.proc.everything())
	}
	return left, err
}

func (g *guard) strikeIn(proc *procfs) (left []process, err error) {
	var children []int
	all, err := proc.snapshot(func(p process) {
		if p.parent != g.proc.self || g.strangers[p.pid] {
			return
		}
		children = append(children, p.pid)
		left = append(left, p)
		// At once, for some live for less time than the listing takes. The
		// pid cannot be another's: only we can reap it. Nor can a fork slip
		// through the killing of its group, all of whose members are below us,
		// for they share a session that is not ours.
		_ = unix.Kill(p.pid, unix.SIGKILL)
		if p.session != g.proc.session && p.group > 1 {
			_ = unix.Kill(-p.group, unix.SIGKILL)
		}
	})
	for _, p := range all.descendants(children...) {
		left = append(left, p)
		g.proc.signalExactly(p, unix.SIGKILL)
	}
	return left, err
}

// names lists processes for people.
func (g *guard) names(list []process) string {
	out := make([]string, 0, len(list))
	for _, p := range list {
		name, _ := os.ReadFile(fmt.Sprintf("%s/%d/comm", g.proc.root, p.pid))
		out = append(out, fmt.Sprintf("%d (%s)", p.pid, bytes.TrimSpace(name)))
	}
	return strings.Join(out, ", ")
}
