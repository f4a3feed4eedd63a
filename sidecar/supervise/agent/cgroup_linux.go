package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// groupPrefix begins the name of the agent's cgroup; its pid and start time,
// which tell an agent from its successors, follow.
const groupPrefix = "rpcpool-agent-"

// groups makes version 2 cgroups below the agent's own. It enables no
// controller, so the rule that inner groups hold no processes does not bite.
type groups struct {
	dir string // <the agent's own group>/rpcpool-agent-<pid>-<start>
}

// newGroups makes the agent's directory for its workers' groups and removes
// those of agents that are dead. It fails where no version 2 hierarchy is
// mounted or writable.
func newGroups(proc *procfs) (*groups, error) {
	all, err := readCgroups("/")
	if err != nil {
		return nil, err
	}
	own, ok := all.dir("")
	if !ok {
		return nil, errors.New("no version 2 cgroup is mounted")
	}
	removeDeadGroups(own, proc)
	self, err := proc.stat(os.Getpid())
	if err != nil {
		return nil, err
	}
	g := &groups{dir: filepath.Join(own, fmt.Sprintf("%s%d-%d", groupPrefix, self.pid, self.start))}
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	return g, nil
}

// removeDeadGroups kills and removes what agents that are dead left in own.
func removeDeadGroups(own string, proc *procfs) {
	entries, err := os.ReadDir(own)
	if err != nil {
		return
	}
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Name(), groupPrefix)
		if !ok || agentLives(id, proc) {
			continue
		}
		dir := filepath.Join(own, e.Name())
		workers, _ := os.ReadDir(dir)
		for _, w := range workers {
			if w.IsDir() {
				_ = (&group{dir: filepath.Join(dir, w.Name()), fd: -1}).remove()
			}
		}
		_ = syscall.Rmdir(dir)
	}
}

// agentLives tells whether the agent that named its group "<pid>-<start>" does.
func agentLives(id string, proc *procfs) bool {
	pidText, startText, _ := strings.Cut(id, "-")
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		return true // not of our making
	}
	p, err := proc.stat(pid)
	return err == nil && strconv.FormatUint(p.start, 10) == startText
}

// make makes the group of one worker.
func (g *groups) make(worker string) (*group, error) {
	dir := filepath.Join(g.dir, "worker-"+worker)
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) { // of an unkillable worker that has died since
		if err = (&group{dir: dir, fd: -1}).remove(); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open cgroup: %w", err), syscall.Rmdir(dir))
	}
	return &group{dir: dir, fd: fd}, nil
}

// close removes the agent's directory.
func (g *groups) close() {
	if g != nil {
		_ = syscall.Rmdir(g.dir)
	}
}

// group is the cgroup of one worker. The nil group is none.
type group struct {
	dir string
	fd  int // for the start; -1 afterwards
}

// started gives up the descriptor that the start needed.
func (g *group) started() {
	if g != nil && g.fd >= 0 {
		_ = unix.Close(g.fd)
		g.fd = -1
	}
}

// kill sends SIGKILL to every process in the group.
func (g *group) kill() {
	if g == nil {
		return
	}
	if os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	// Linux before 5.14. What forks meanwhile is met again by the sweep.
	b, _ := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	for word := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// populated tells whether processes live in the group, or below it.
func (g *group) populated() bool {
	if g == nil {
		return false
	}
	b, err := os.ReadFile(filepath.Join(g.dir, "cgroup.events"))
	n, ok := parseCounter(string(b), "populated")
	return err == nil && ok && n > 0
}

// remove removes the group, which must not hold live processes; it kills what
// is there all the same, and gives the kernel a moment to let go of the dead.
func (g *group) remove() error {
	if g == nil {
		return nil
	}
	g.started()
	var err error
	for pause := time.Millisecond; pause < 200*time.Millisecond; pause *= 2 {
		if err = syscall.Rmdir(g.dir); err == nil || errors.Is(err, syscall.ENOENT) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) {
			break
		}
		g.kill()
		time.Sleep(pause)
	}
	return fmt.Errorf("remove cgroup: %w", err)
}
