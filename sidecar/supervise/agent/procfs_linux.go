package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procfs reads processes from /proc. It is used by one goroutine at a time.
type procfs struct {
	root    string // "/proc" but in tests
	self    int
	session int  // the agent's
	all     bool // of processes in that session, too, snapshot tells
	buf     [1024]byte
}

func newProcfs() *procfs {
	p := &procfs{root: "/proc", self: os.Getpid()}
	if own, err := p.stat(p.self); err == nil {
		p.session = own.session
	}
	return p
}

// everything is a procfs whose snapshots leave nothing out.
func (p *procfs) everything() *procfs {
	return &procfs{root: p.root, self: p.self, session: p.session, all: true}
}

// orphaned tells whether p is a child of the agent that can be an orphan: the
// descendants of a worker are in its session or in one of their own, never in
// the agent's, and what else is in that is none of the agent's business.
func (p *procfs) orphaned(c process) bool {
	return c.parent == p.self && c.session != p.session
}

// leftToUs tells whether c has ended and nobody but the agent can reap it: as
// PID 1 it is the parent of all whose parents are gone.
func (p *procfs) leftToUs(c process) bool {
	return p.self == 1 && c.parent == 1 && c.state == 'Z'
}

// stat reads one process.
func (p *procfs) stat(pid int) (process, error) {
	return p.readStat(unix.AT_FDCWD, p.root+"/"+strconv.Itoa(pid)+"/stat")
}

func (p *procfs) readStat(dir int, path string) (process, error) {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return process{}, fmt.Errorf("open %s: %w", path, err)
	}
	n, err := unix.Read(fd, p.buf[:])
	_ = unix.Close(fd)
	if err != nil {
		return process{}, fmt.Errorf("read %s: %w", path, err)
	}
	return parseStat(p.buf[:n])
}

// snapshot reads all processes that can be below the agent's workers, and shows
// each to visit as soon as it is read, the youngest first as a rule. A process
// that lives from the beginning to the end of the call is in it; one that comes
// or goes meanwhile may be.
func (p *procfs) snapshot(visit func(process)) (forest, error) {
	dir, err := os.Open(p.root)
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	defer dir.Close() //nolint:errcheck // opened for reading
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	out := make(forest, len(names))
	for _, name := range slices.Backward(names) {
		pid, err := strconv.Atoi(name)
		if err != nil || p.unrelated(pid) {
			continue
		}
		if s, err := p.readStat(int(dir.Fd()), name+"/stat"); err == nil {
			out[s.pid] = s
			visit(s)
		}
	}
	return out, nil
}

// unrelated tells cheaply, without /proc, that a process is none of a worker's:
// it is in the agent's session or in none (the kernel's own threads). PID 1
// looks at all, for it has to reap all.
func (p *procfs) unrelated(pid int) bool {
	if p.all || p.self == 1 {
		return false
	}
	session, err := unix.Getsid(pid)
	return err == nil && (session == 0 || session == p.session)
}

// children lists the agent's own children; see childrenOf.
func (p *procfs) children() (pids []int, ok bool) { return p.childrenOf("self") }

// childrenOf lists a process's children where the kernel can tell
// (CONFIG_PROC_CHILDREN); ok is false elsewhere. The list is complete if no child
// is reaped meanwhile.
func (p *procfs) childrenOf(name string) (pids []int, ok bool) {
	files, err := filepath.Glob(p.root + "/" + name + "/task/*/children")
	if err != nil || len(files) == 0 {
		return nil, false
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil { // a thread ended: its children are another's now
			return nil, false
		}
		for word := range bytes.FieldsSeq(b) {
			pid, err := strconv.Atoi(string(word))
			if err != nil {
				return nil, false
			}
			pids = append(pids, pid)
		}
	}
	return pids, true
}

// hasChildren tells whether a process has children, zombies among them. Where
// that cannot be told it has none.
func (p *procfs) hasChildren(pid int) bool {
	if pids, ok := p.childrenOf(strconv.Itoa(pid)); ok {
		return len(pids) > 0
	}
	all, err := p.snapshot(func(process) {})
	return err == nil && len(all.descendants(pid)) > 0
}

// usage reads what a process has used so far.
func (p *procfs) usage(pid int) (usage, error) {
	dir := p.root + "/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return usage{}, fmt.Errorf("read usage: %w", err)
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return usage{}, fmt.Errorf("read usage: %w", err)
	}
	return parseUsage(stat, status)
}

// ownChildren lists the agent's children with their start times.
func (p *procfs) ownChildren() (map[int]uint64, error) {
	out := map[int]uint64{}
	_, err := p.snapshot(func(c process) {
		if c.parent == p.self {
			out[c.pid] = c.start
		}
	})
	return out, err
}

// others lists the processes, but for the agent itself, that match.
func (p *procfs) others(match func(pid int, dir string) bool) (pids []int) {
	entries, err := os.ReadDir(p.root)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != p.self && match(pid, filepath.Join(p.root, e.Name())) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// strays lists the processes whose environment at their start had an entry that
// begins with prefix.
func (p *procfs) strays(prefix string) []int {
	return p.others(func(_ int, dir string) bool {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		return err == nil && (bytes.HasPrefix(env, []byte(prefix)) || bytes.Contains(env, []byte("\x00"+prefix)))
	})
}

// settled lists the processes whose current directory is, or is below, one whose
// path begins with prefix. Those at a terminal are somebody's who looks around.
func (p *procfs) settled(prefix string) []int {
	return p.others(func(pid int, dir string) bool {
		at, err := os.Readlink(filepath.Join(dir, "cwd"))
		if err != nil || !strings.HasPrefix(at, prefix) {
			return false
		}
		found, err := p.stat(pid)
		return err == nil && !found.terminal
	})
}

// sees tells whether a process, which may be in another container, means the
// same directory as the agent by path.
func (p *procfs) sees(pid int, path string) bool {
	theirs, err := os.Stat(filepath.Join(p.root, strconv.Itoa(pid), "root", path))
	if err != nil {
		return false
	}
	ours, err := os.Stat(path)
	return err == nil && os.SameFile(theirs, ours)
}
