package agent

import (
	"bytes"
	"errors"
	"strconv"
	"time"
)

// process is what the agent wants to know of a process: fields of
// /proc/PID/stat (proc(5)).
type process struct {
	pid      int
	state    byte // 'Z': zombie
	parent   int
	group    int
	session  int
	terminal bool   // it has one that controls it
	exiting  bool   // its first thread is ending
	start    uint64 // clock ticks since boot; with the pid, the identity of the process
}

var errStat = errors.New("malformed /proc/PID/stat")

// parseStat reads the content of /proc/PID/stat. The name of the program stands
// in parentheses and may hold anything, parentheses too.
func parseStat(b []byte) (process, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 2 || end < open {
		return process{}, errStat
	}
	var p process
	var err error
	if p.pid, err = strconv.Atoi(string(b[:open-1])); err != nil {
		return process{}, errStat
	}
	// Fields count from the state, which is the third of the file.
	const parent, group, session, terminal, flags, start = 1, 2, 3, 4, 6, 19
	const exiting = 0x4 // PF_EXITING
	field := 0
	for rest := b[end+1:]; ; field++ {
		rest = bytes.TrimLeft(rest, " \n")
		if len(rest) == 0 {
			return process{}, errStat
		}
		word := rest
		if i := bytes.IndexAny(rest, " \n"); i >= 0 {
			word = rest[:i]
		}
		rest = rest[len(word):]
		switch field {
		case 0:
			p.state = word[0]
		case parent:
			p.parent, err = strconv.Atoi(string(word))
		case group:
			p.group, err = strconv.Atoi(string(word))
		case session:
			p.session, err = strconv.Atoi(string(word))
		case terminal:
			p.terminal = string(word) != "0"
		case flags:
			var bits uint64
			bits, err = strconv.ParseUint(string(word), 10, 64)
			p.exiting = bits&exiting != 0
		case start:
			if p.start, err = strconv.ParseUint(string(word), 10, 64); err == nil {
				return p, nil
			}
		}
		if err != nil {
			return process{}, errStat
		}
	}
}

// usage is what a process has used so far.
type usage struct {
	user, system time.Duration // to 10 ms, the kernel's clock tick
	maxRSS       int64         // bytes
}

// clockTick is the unit of times in /proc (USER_HZ), the same on every
// architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// parseUsage reads the content of /proc/PID/stat and /proc/PID/status.
func parseUsage(stat, status []byte) (u usage, err error) {
	const user, system = 11, 12 // fields, counted from the state
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= system {
		return usage{}, errStat
	}
	for field, to := range map[int]*time.Duration{user: &u.user, system: &u.system} {
		ticks, err := strconv.ParseUint(string(fields[field]), 10, 63)
		if err != nil {
			return usage{}, errStat
		}
		*to = time.Duration(ticks) * clockTick
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kib, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
			if err != nil {
				return usage{}, errStat
			}
			u.maxRSS = kib << 10
		}
	}
	return u, nil
}

// forest is a snapshot of all processes, by pid.
type forest map[int]process

// descendants returns every process below the roots, without the roots.
func (f forest) descendants(roots ...int) []process {
	if len(roots) == 0 {
		return nil
	}
	children := make(map[int][]int, len(f))
	for _, p := range f {
		children[p.parent] = append(children[p.parent], p.pid)
	}
	seen := make(map[int]bool, len(roots))
	for _, root := range roots {
		seen[root] = true
	}
	var out []process
	for todo := roots; len(todo) > 0; {
		pid := todo[0]
		todo = todo[1:]
		for _, child := range children[pid] {
			if !seen[child] {
				seen[child] = true
				out = append(out, f[child])
				todo = append(todo, child)
			}
		}
	}
	return out
}

// orphanage remembers in which round of scanning each orphan was first seen,
// so that the orphans of one worker that cannot be killed do not keep the
// others from being gone.
type orphanage struct {
	round int
	seen  map[int]orphan
}

type orphan struct {
	start uint64
	round int
}

// update begins a new round with the orphans that live now.
func (o *orphanage) update(living []process) {
	o.round++
	next := make(map[int]orphan, len(living))
	for _, p := range living {
		known, ok := o.seen[p.pid]
		if !ok || known.start != p.start {
			known = orphan{start: p.start, round: o.round}
		}
		next[p.pid] = known
	}
	o.seen = next
}

// empty tells whether the last round found no orphan.
func (o *orphanage) empty() bool { return len(o.seen) == 0 }

// blocks tells whether an orphan may be of a worker that was alive after the
// given round: one that was seen by then is not, for a worker's descendants
// become orphans by its end.
func (o *orphanage) blocks(round int) bool {
	for _, known := range o.seen {
		if known.round > round {
			return true
		}
	}
	return false
}
