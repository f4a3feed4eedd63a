package direct

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/internal/cgroup"
)

// stat is what /proc/PID/stat says of a process.
type stat struct {
	pid, parent, group int
	zombie             bool
}

// processes shows all processes to visit.
func processes(visit func(stat)) {
	dir, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer dir.Close() //nolint:errcheck // opened for reading
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if b, err := os.ReadFile("/proc/" + name + "/stat"); err == nil {
			if s, ok := parseStat(pid, b); ok {
				visit(s)
			}
		}
	}
}

// parseStat reads /proc/PID/stat: the program's name, in parentheses, may hold
// anything, parentheses too.
func parseStat(pid int, b []byte) (s stat, ok bool) {
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 3 {
		return s, false
	}
	s.pid, s.zombie = pid, f[0][0] == 'Z' || f[0][0] == 'X'
	s.parent, _ = strconv.Atoi(string(f[1]))
	s.group, _ = strconv.Atoi(string(f[2]))
	return s, true
}

// descendants returns all that are below a process.
func descendants(root int) (below []int) {
	children := map[int][]int{}
	processes(func(s stat) { children[s.parent] = append(children[s.parent], s.pid) })
	for todo := []int{root}; len(todo) > 0; todo = todo[1:] {
		below = append(below, children[todo[0]]...)
		todo = append(todo, children[todo[0]]...)
	}
	return below
}

// sweeper kills what dead workers have left behind. It costs a look at all processes,
// so it does so for all that have died since it last began.
type sweeper struct {
	wake chan struct{}
	end  chan struct{}

	mu   sync.Mutex
	dead map[int]string // marks, by process group
}

func newSweeper() *sweeper {
	return &sweeper{wake: make(chan struct{}, 1), end: make(chan struct{}), dead: map[int]string{}}
}

// after says that a worker is dead.
func (s *sweeper) after(p *process) {
	s.mu.Lock()
	s.dead[p.pid] = p.mark
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sweeper) stop() { close(s.end) }

func (s *sweeper) run() {
	for {
		select {
		case <-s.wake:
			s.pass()
		case <-s.end:
			s.pass()
			return
		}
	}
}

// pass looks until nothing is found, a hundred times at most: what does not die of
// SIGKILL is stuck in the kernel.
func (s *sweeper) pass() {
	s.mu.Lock()
	dead := s.dead
	s.dead = map[int]string{}
	s.mu.Unlock()
	if len(dead) == 0 {
		return
	}
	marks := map[string]bool{}
	for _, m := range dead {
		marks[m] = true
	}
	for range 100 {
		found := false
		processes(func(p stat) {
			if p.group == 0 || p.zombie {
				return
			}
			if _, left := dead[p.group]; left && p.group != p.pid || marked(p.pid, marks) {
				found = true
				_ = unix.Kill(p.pid, unix.SIGKILL)
			}
		})
		if !found {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// marked tells whether a process has one of the marks in its first environment. Below
// workers of workers, there are several.
func marked(pid int, marks map[string]bool) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	for e := range bytes.SplitSeq(env, []byte{0}) {
		if marks[string(e)] {
			return true
		}
	}
	return false
}

// oom counts how often the kernel has killed for want of memory: in this process's
// control group if that can be asked, else on the whole machine.
type oom struct{ path string }

func findOOM() oom {
	for file := range cgroup.Files(os.DirFS("/proc"), map[string]string{"": "memory.events"}) {
		path := "/sys/" + file
		if _, err := os.Stat(path); err == nil {
			return oom{path}
		}
		break // those above count what others did
	}
	return oom{"/proc/vmstat"}
}

func (o oom) read() (n uint64) {
	b, _ := os.ReadFile(o.path)
	n, _ = cgroup.Counter(string(b), "oom_kill")
	return n
}
