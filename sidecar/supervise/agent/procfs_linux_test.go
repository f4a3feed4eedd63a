package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestChildrenWhereTheKernelListsThem(t *testing.T) {
	cases := map[string]struct {
		files map[string]string
		want  []int
		ok    bool
	}{
		"of all threads": {map[string]string{
			"self/task/10/children": "20 30 ", "self/task/11/children": "", "self/task/12/children": "40",
		}, []int{20, 30, 40}, true},
		"none":                   {map[string]string{"self/task/10/children": ""}, nil, true},
		"the kernel cannot tell": {map[string]string{"self/task/10/stat": ""}, nil, false},
		"nonsense":               {map[string]string{"self/task/10/children": "20 x"}, nil, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := &procfs{root: fakeRoot(t, c.files)}
			got, ok := p.children()
			if ok != c.ok || ok && !slices.Equal(got, c.want) {
				t.Errorf("%v, %v; want %v, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestSnapshotOfThisMachine(t *testing.T) {
	p := newProcfs()
	child := exec.Command("sleep", "1000")
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	pid := child.Process.Pid
	seen := map[int]bool{}
	all, err := p.snapshot(func(q process) { seen[q.pid] = true })
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := all[os.Getpid()]; ok || len(seen) != len(all) {
		t.Errorf("of %d processes %d were shown; its own is among them: %v", len(all), len(seen), ok)
	}
	self, err := p.stat(os.Getpid())
	if err != nil || self.parent != os.Getppid() || self.group != unix.Getpgrp() {
		t.Errorf("self %+v, %v", self, err)
	}
	if c := all[pid]; c.parent != os.Getpid() || c.session != pid || c.group != pid || !p.orphaned(c) || p.orphaned(self) {
		t.Errorf("child %+v", c)
	}
	own, err := p.ownChildren()
	if err != nil || own[pid] != all[pid].start {
		t.Errorf("own children %v, %v", own, err)
	}
	if !p.sees(pid, t.TempDir()) || p.sees(pid, "/no/such/directory") {
		t.Error("sees is wrong of a child with the same root")
	}
	p.signalExactly(process{pid: pid, start: all[pid].start + 1}, unix.SIGKILL)
	if !alive(pid) {
		t.Fatal("another process with this pid was meant")
	}
	p.signalExactly(all[pid], unix.SIGKILL)
	eventually(t, "the child is dead", func() bool { return !alive(pid) })
	if _, err := (&procfs{root: "/no/such/proc"}).snapshot(func(process) {}); err == nil {
		t.Error("no /proc, no error")
	}
}

func TestDeadAgentsCgroupsAreRemoved(t *testing.T) {
	proc := newProcfs()
	groups, err := newGroups(proc)
	if err != nil {
		t.Skipf("no version 2 cgroup can be made here: %v", err)
	}
	defer groups.close()
	own := filepath.Dir(groups.dir)
	self, err := proc.stat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	dead := &groupsOf{t, filepath.Join(own, fmt.Sprintf("%s%d-%d", groupPrefix, self.pid, self.start+1))}
	stranger := filepath.Join(own, groupPrefix+"of-somebody")
	mustMkdir(t, stranger)
	defer os.Remove(stranger)
	victim := dead.withProcess()
	second, err := newGroups(proc)
	if err != nil {
		t.Fatal(err)
	}
	if second.dir != groups.dir {
		t.Errorf("the same agent has %s and %s", groups.dir, second.dir)
	}
	if err := victim.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the process that a dead agent left: %v", err)
	}
	if _, err := os.Stat(dead.dir); err == nil {
		t.Error("the dead agent's group is there")
	}
	if _, err := os.Stat(stranger); err != nil {
		t.Error("somebody else's group is gone")
	}
}

type groupsOf struct {
	t   *testing.T
	dir string
}

// withProcess makes a worker's group with a process in it.
func (g *groupsOf) withProcess() *exec.Cmd {
	g.t.Helper()
	mustMkdir(g.t, filepath.Join(g.dir, "worker-x"))
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	err := os.WriteFile(filepath.Join(g.dir, "worker-x", "cgroup.procs"), []byte(fmt.Sprint(cmd.Process.Pid)), 0)
	if err != nil {
		g.t.Fatal(err)
	}
	return cmd
}

// A process with an empty environment is known by where it stands, even if
// nothing stands there any more.
func TestSettled(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	within := func(dir string) int {
		c := exec.Command("/bin/sleep", "1000")
		c.Dir, c.Env = dir, []string{}
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal controls it
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Kill()
			_ = c.Wait()
		})
		return c.Process.Pid
	}
	deep := filepath.Join(root, WorkDirPrefix+"1", "deep")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	within(root) // is none of it
	want := []int{within(filepath.Dir(deep)), within(deep)}
	if err := os.Remove(deep); err != nil {
		t.Fatal(err)
	}
	got := newProcfs().settled(filepath.Join(root, WorkDirPrefix))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
