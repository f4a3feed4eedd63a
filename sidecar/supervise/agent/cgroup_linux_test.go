package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"rpcpool.dev/sidecar/supervise"
)

// bombLimit bounds a fork bomb's processes.
const bombLimit = 150

// testGroups are the groups of this process as an agent.
func testGroups(t *testing.T) *groups {
	t.Helper()
	g, err := newGroups(newProcfs())
	if err != nil {
		t.Skipf("no control groups can be made here: %v", err)
	}
	t.Cleanup(g.close)
	return g
}

// withFreezer are groups as on a machine without a version 2 hierarchy.
func withFreezer(t *testing.T, g *groups) *groups {
	t.Helper()
	all, err := readCgroups("/")
	if err != nil {
		t.Fatal(err)
	}
	old := &groups{controllers: map[string]string{}, lacks: map[string]string{}}
	for _, c := range []string{controlPids, controlMemory, controlFreezer} {
		if err := old.openV1(all, c, fmt.Sprint(groupPrefix, "test-", os.Getpid()), newProcfs()); err != nil {
			t.Skipf("no version 1 group here: %v", err)
		}
	}
	t.Cleanup(old.close)
	if g.dir != "" && slices.Contains([]string{old.controllers[controlPids], old.controllers[controlFreezer]}, g.dir) {
		t.Fatal("version 1 and version 2 are in the same directory")
	}
	return old
}

// trampolined starts this test binary through the trampoline, as an agent does.
func trampolined(t *testing.T, g *group, args ...string) *exec.Cmd {
	t.Helper()
	runtime.LockOSThread() // the parent-death signal is of this thread
	exe := executablePath(t)
	plan, err := encodeTrampoline(trampoline{Agent: os.Getpid(), Program: exe, Groups: g.joins()})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	cmd := &exec.Cmd{
		Path: exe, Args: append([]string{trampolineName, plan, exe}, args...),
		Env: append(os.Environ(), roleEnv+"=limits"), Stderr: os.Stderr, Stdout: os.Stderr,
		ExtraFiles: []*os.File{theirs, theirs}, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	cmd.SysProcAttr.CgroupFD, cmd.SysProcAttr.UseCgroupFD = g.descriptor()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.kill()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	_ = theirs.Close()
	b := make([]byte, 100)
	if n, err := ours.Read(b); string(b[:n]) != "up" {
		t.Fatalf("it says %q, %v", b[:n], err)
	}
	return cmd
}

// reapOthers takes the ends of what the tests have inherited.
func reapOthers(t *testing.T) {
	t.Helper()
	proc := newProcfs()
	_, err := proc.snapshot(func(p process) {
		if proc.orphaned(p) && p.state == 'Z' {
			reapOrphan(p.pid)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWorkersGroups(t *testing.T) {
	g := testGroups(t)
	old := withFreezer(t, g)
	read := func(dir, file string) string {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(b))
	}
	all := supervise.Limits{Memory: 64 << 20, Processes: 30, CPU: 1500}
	cases := map[string]struct {
		groups *groups
		limits supervise.Limits
		dirs   int
	}{
		"version 1, no limits: memory and freezer": {old, supervise.Limits{}, 2},
		"version 1, all limits":                    {old, all, 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, err := c.groups.make("w", c.limits)
			if err != nil {
				t.Fatal(err)
			}
			if len(w.dirs) != c.dirs || w.populated() {
				t.Errorf("groups %v", w.dirs)
			}
			if c.limits.Memory > 0 {
				if got := read(w.memory, "memory.limit_in_bytes"); got != "67108864" {
					t.Errorf("memory is limited to %s", got)
				}
			}
			last := ""
			for _, e := range w.joins() {
				last = filepath.Base(e.File) + "=" + e.Text
			}
			if want := "tasks=0"; c.limits.Processes > 0 && last != "pids.max=30" || c.limits.Processes == 0 && last != want {
				t.Errorf("the last that the trampoline writes is %s", last)
			}
			if kills, ok := w.oomKills(); kills != 0 || !ok {
				t.Errorf("%d killed, %v", kills, ok)
			}
			// One that was left behind is replaced.
			again, err := c.groups.make("w", c.limits)
			if err != nil || len(again.dirs) != c.dirs {
				t.Errorf("made again: %v, %v", again, err)
			}
			if err := again.remove(); err != nil {
				t.Error(err)
			}
			if err := w.remove(); err != nil {
				t.Errorf("removed twice: %v", err)
			}
		})
	}
	if g.controllers[controlCPU] != "" {
		w, err := g.make("cpu", all)
		if err != nil {
			t.Fatal(err)
		}
		defer w.remove()
		if dir := filepath.Join(g.controllers[controlCPU], "worker-cpu"); dir != w.unified {
			if got := read(dir, "cpu.cfs_quota_us"); got != "150000" {
				t.Errorf("quota %s", got)
			}
		}
	}
	var none *group
	none.kill()
	none.started()
	if err := none.remove(); err != nil || none.populated() || none.joins() != nil || none.peakMemory() != 0 {
		t.Error("no group is something")
	}
	if w, err := (*groups)(nil).make("w", all); w != nil || err != nil {
		t.Errorf("no groups make %v, %v", w, err)
	}
}

// What somebody removes is made anew; what cannot be made is done without.
func TestGroupsMayBeRemovedByOthers(t *testing.T) {
	g := withFreezer(t, testGroups(t))
	if err := syscall.Rmdir(g.controllers[controlMemory]); err != nil {
		t.Fatal(err)
	}
	w, err := g.make("w", supervise.Limits{})
	if err != nil || w.memory == "" {
		t.Errorf("group %+v, %v", w, err)
	}
	if err := w.remove(); err != nil {
		t.Error(err)
	}
	lost := &groups{controllers: map[string]string{controlMemory: "/proc/no/such/place"}, lacks: map[string]string{}}
	w, err = lost.make("w", supervise.Limits{Memory: 1 << 20})
	if err == nil || w == nil || len(w.joins()) > 0 || lost.unbounded()["memory"] == "" {
		t.Errorf("group %+v, %v; unbounded %v", w, err, lost.unbounded())
	}
}

func TestProcessesStartInVersion2Groups(t *testing.T) {
	g := testGroups(t)
	if g.dir == "" {
		t.Skip("no version 2 hierarchy is writable here")
	}
	if !g.into {
		t.Skip("this kernel cannot start processes in groups")
	}
	g.into = false // as on an older one
	w, err := g.make("older", supervise.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.remove()
	if _, ok := w.descriptor(); ok || len(w.joins()) == 0 || filepath.Base(w.joins()[0].File) != "cgroup.procs" {
		t.Errorf("joins %v", w.joins())
	}
}

// What the memory controllers of both versions, old kernels among them, say.
func TestMemoryFilesAreRead(t *testing.T) {
	cases := map[string]struct {
		files map[string]string
		kills uint64
		ok    bool
		peak  int64
	}{
		"version 2": {map[string]string{
			"memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 1\n", "memory.peak": "4096\n",
		}, 2, true, 4096},
		"version 2 before 5.19": {map[string]string{"memory.events": "oom_kill 0\n"}, 0, true, 0},
		"version 1": {map[string]string{
			"memory.oom_control": "under_oom 0\noom_kill 1\n", "memory.max_usage_in_bytes": "8192\n", "memory.failcnt": "77\n",
		}, 1, true, 8192},
		"version 1 before 4.13": {map[string]string{
			"memory.oom_control": "under_oom 0\n", "memory.failcnt": "3\n", "memory.max_usage_in_bytes": "1\n",
		}, 3, true, 1},
		"nothing": {map[string]string{"other": ""}, 0, false, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := &group{memory: fakeRoot(t, c.files), fd: -1}
			if kills, ok := g.oomKills(); kills != c.kills || ok != c.ok {
				t.Errorf("%d killed, %v", kills, ok)
			}
			if peak := g.peakMemory(); peak != c.peak {
				t.Errorf("peak %d", peak)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	limits := supervise.Limits{CPU: 250, Memory: 1 << 20, Processes: 7}
	cases := map[string]struct {
		controller string
		unified    bool
		limits     supervise.Limits
		want       string
	}{
		"memory, version 2":               {controlMemory, true, limits, "memory.max=1048576 memory.swap.max=0? memory.oom.group=1?"},
		"memory, version 2, no limit":     {controlMemory, true, supervise.Limits{}, "memory.oom.group=1?"},
		"memory, version 1":               {controlMemory, false, limits, "memory.limit_in_bytes=1048576 memory.memsw.limit_in_bytes=1048576?"},
		"memory, version 1, no limit":     {controlMemory, false, supervise.Limits{}, ""},
		"cpu, version 2":                  {controlCPU, true, limits, "cpu.max=25000 100000"},
		"cpu, version 1":                  {controlCPU, false, limits, "cpu.cfs_period_us=100000 cpu.cfs_quota_us=25000"},
		"cpu: less than the kernel takes": {controlCPU, true, supervise.Limits{CPU: 1}, "cpu.max=1000 100000"},
		"processes: from inside":          {controlPids, true, limits, ""},
	}
	for name, c := range cases {
		var got []string
		for _, s := range settings(c.controller, c.unified, c.limits) {
			text := s.file + "=" + s.value
			if s.optional {
				text += "?"
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}
