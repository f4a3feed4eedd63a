package agent

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

func TestWorkerEnvironment(t *testing.T) {
	base := []string{"PATH=/bin", "A=1", "RPCPOOL_SESSION=old", "RPCPOOL_CLIENT=old", "RPCPOOL_KEY=old", "broken", "=x"}
	t.Run("warm: nothing of an outer session, the start's own wins over the agent's", func(t *testing.T) {
		got := workerEnv(base, "/w/d", "@n", &order{start: supervise.Start{
			Env:       []string{"A=2", "B=3", "B=4", "RPCPOOL_WORKDIR=/evil", "N=a\x00b"},
			Heartbeat: 3 * time.Second,
			Budgets:   map[supervise.Phase]time.Duration{supervise.PhaseRun: 1, supervise.PhaseUpload: 1},
		}})
		want := []string{"PATH=/bin", "A=2", "RPCPOOL_SESSION=unix", "TMPDIR=/w/d", "B=4", "RPCPOOL_WORKDIR=/w/d", "PWD=/w/d",
			"NOTIFY_SOCKET=@n", "WATCHDOG_USEC=3000000", "RPCPOOL_PHASES=upload,run"}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
	t.Run("cold: whose session it is", func(t *testing.T) {
		got := workerEnv(base, "/w/d", "@n", &order{session: &supervise.Session{
			ID: "7", Key: "k", Client: "10.0.0.1:5", Timeout: 1500 * time.Millisecond,
		}})
		want := []string{
			"PATH=/bin", "A=1", "RPCPOOL_SESSION=fd", "TMPDIR=/w/d", "RPCPOOL_WORKDIR=/w/d", "PWD=/w/d", "NOTIFY_SOCKET=@n",
			"RPCPOOL_SESSION_ID=7", "RPCPOOL_KEY=k", "RPCPOOL_CLIENT=10.0.0.1:5", "RPCPOOL_TIMEOUT_S=1.5",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
	if got := getenv([]string{"PATHX=1", "PATH=/a:/b"}, "PATH"); got != "/a:/b" {
		t.Errorf("PATH is %q", got)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tool, second := write("a/tool", 0o755), write("b/only-b", 0o755)
	write("a/plain", 0o644)
	t.Chdir(dir)
	pathList := strings.Join([]string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}, ":")
	third := write("own/only-own", 0o755)
	write("own/tool", 0o755)
	cases := map[string]struct{ name, path, want, failure string }{
		"beside the agent":       {"only-own", pathList, third, ""},
		"first in PATH":          {"tool", pathList, tool, ""},
		"later in PATH":          {"only-b", pathList, second, ""},
		"relative PATH":          {"tool", "a", tool, ""},
		"absolute path":          {tool, "", tool, ""},
		"relative to the agent":  {"./a/tool", "", tool, ""},
		"nowhere":                {"absent", pathList, "", `"absent": not found in PATH`},
		"not executable":         {"plain", pathList, "", `"plain": found in PATH, but not executable`},
		"path not executable":    {"a/plain", "", "", `"a/plain": permission denied`},
		"path that is a folder":  {"./a", "", "", `"./a": is a directory`},
		"path that is not there": {"./c", "", "", `"./c": no such file`},
		"no name":                {"", pathList, "", "no name"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := lookPath(c.name, c.path, filepath.Join(dir, "own"))
			if c.failure == "" && (err != nil || got != c.want) {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
			if c.failure != "" && (err == nil || !strings.Contains(err.Error(), c.failure)) {
				t.Errorf("error %v, want %q in it", err, c.failure)
			}
		})
	}
}

func TestWorkerIDsAreSafeAsNames(t *testing.T) {
	for _, id := range []string{"w-1", "a.b_C9", strings.Repeat("x", maxWorkerID)} {
		if err := checkWorkerID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", ".", "..", ".x", "a/b", "a b", "a\x00", "ä", "a~1", strings.Repeat("x", maxWorkerID+1)} {
		if checkWorkerID(id) == nil {
			t.Errorf("%q is accepted", id)
		}
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 12 34 56 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2\n"
	want := process{pid: 77, state: 'S', parent: 12, group: 34, session: 56, start: 98765}
	for _, name := range []string{"(sh)", "(a b)", "(a) (b)", "())", "(\n)", "(77 (x) Z 1 1 1)"} {
		got, err := parseStat([]byte("77 " + name + rest))
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	atTerminal, err := parseStat([]byte("77 (sh) S 12 34 56 34816 77 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2\n"))
	if err != nil || !atTerminal.terminal {
		t.Errorf("at a terminal: %+v, %v", atTerminal, err)
	}
	dying, err := parseStat([]byte("77 (sh) Z 12 34 56 0 -1 4194564 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2\n"))
	if err != nil || !dying.exiting || dying.state != 'Z' {
		t.Errorf("dying: %+v, %v", dying, err)
	}
	for _, bad := range []string{"", "(", "()", "1", "x (sh)" + rest, "77 (sh", "77 (sh) S 12", "77 (sh) S x 34 56", "77 (sh) S 1 2 3 \n"} {
		if _, err := parseStat([]byte(bad)); !errors.Is(err, errStat) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("77 (a) (b) S 12 34 56 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2\n"))
	f.Add([]byte("1 (x)"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parseStat(b); err == nil && p.state == 0 {
			t.Errorf("%q: no state", b)
		}
	})
}

// family builds a forest of lines "pid parent session".
func family(rows ...[3]int) forest {
	f := forest{}
	for _, r := range rows {
		f[r[0]] = process{pid: r[0], parent: r[1], session: r[2]}
	}
	return f
}

func pids(ps []process) []int {
	out := make([]int, 0, len(ps))
	for _, p := range ps {
		out = append(out, p.pid)
	}
	slices.Sort(out)
	return out
}

func TestDescendants(t *testing.T) {
	f := family(
		[3]int{1, 0, 1},
		[3]int{10, 1, 10},                                          // the agent
		[3]int{20, 10, 20}, [3]int{21, 20, 20}, [3]int{22, 21, 22}, // a live worker
		[3]int{30, 10, 29}, [3]int{31, 30, 31}, // orphans of a dead one
		[3]int{40, 10, 10}, [3]int{41, 40, 41}, // a child in the agent's own session
		[3]int{50, 1, 50},
	)
	for _, c := range []struct {
		roots, want []int
	}{
		{[]int{20}, []int{21, 22}},
		{[]int{30, 20}, []int{21, 22, 31}},
		{[]int{99}, []int{}},
		{nil, []int{}},
		{[]int{20, 21}, []int{22}},
	} {
		if got := pids(f.descendants(c.roots...)); !slices.Equal(got, c.want) {
			t.Errorf("below %v: %v, want %v", c.roots, got, c.want)
		}
	}
	loop := family([3]int{5, 6, 0}, [3]int{6, 5, 0})
	if got := pids(loop.descendants(5)); !slices.Equal(got, []int{6}) {
		t.Errorf("torn snapshot: %v", got)
	}
}

func TestOrphanageBlamesOnlyTheDead(t *testing.T) {
	var o orphanage
	stuck := process{pid: 7, start: 1}
	o.update([]process{stuck})
	if o.empty() || !o.blocks(0) {
		t.Error("an orphan seen after a worker's end does not hold it up")
	}
	round := o.round // another worker dies now
	o.update([]process{stuck})
	if o.blocks(round) {
		t.Error("an old orphan holds up a worker that died after it was seen")
	}
	o.update([]process{stuck, {pid: 8, start: 2}})
	if !o.blocks(round) {
		t.Error("a new orphan does not hold up the worker")
	}
	o.update([]process{{pid: 7, start: 99}})
	if !o.blocks(round) {
		t.Error("another process with an old orphan's pid is taken for it")
	}
	o.update(nil)
	if !o.empty() || o.blocks(0) {
		t.Error("orphans that are gone are remembered")
	}
}

// fakeRoot writes files below a fresh directory and returns it.
func fakeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestOOMCounterIsFound(t *testing.T) {
	const (
		unifiedMount = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
		hybridMount  = "33 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"38 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		containerMount = "30 23 0:26 /kubepods/pod1/c1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
	)
	cases := map[string]struct {
		files map[string]string
		want  string // below the root; "": none
		count uint64
	}{
		"version 2": {map[string]string{
			"proc/self/mountinfo": unifiedMount, "proc/self/cgroup": "0::/a/b\n", "proc/vmstat": "oom_kill 9\n",
			"sys/fs/cgroup/a/b/memory.events": "oom 0\noom_kill 4\n",
		}, "/sys/fs/cgroup/a/b/memory.events", 4},
		"in a container without a cgroup namespace": {map[string]string{
			"proc/self/mountinfo": containerMount, "proc/self/cgroup": "0::/kubepods/pod1/c1\n",
			"sys/fs/cgroup/memory.events": "oom_kill 1\n",
		}, "/sys/fs/cgroup/memory.events", 1},
		"version 1 beside an empty version 2": {map[string]string{
			"proc/self/mountinfo": hybridMount, "proc/self/cgroup": "4:memory:/x\n0::/\n",
			"sys/fs/cgroup/memory/x/memory.oom_control": "under_oom 0\noom_kill 6\n",
		}, "/sys/fs/cgroup/memory/x/memory.oom_control", 6},
		"the root group has no counter, the machine has": {map[string]string{
			"proc/self/mountinfo": unifiedMount, "proc/self/cgroup": "0::/\n", "proc/vmstat": "oom_kill 9\n",
		}, "/proc/vmstat", 9},
		"no cgroups at all": {map[string]string{"proc/vmstat": "oom_kill 3\n"}, "/proc/vmstat", 3},
		"nothing":           {map[string]string{}, "", 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := fakeRoot(t, c.files)
			counter := newOOMCounter(root)
			if got := strings.TrimPrefix(counter.path, root); got != c.want {
				t.Fatalf("found %q, want %q", got, c.want)
			}
			if n, ok := counter.read(); n != c.count || ok != (c.want != "") {
				t.Errorf("read %d, %v", n, ok)
			}
		})
	}
}

func TestCgroupDirectory(t *testing.T) {
	mountinfo := strings.Join([]string{
		`23 28 0:21 / /proc rw - proc proc rw`,
		`30 23 0:26 /docker/abc /sys/fs/cgroup rw,nosuid shared:9 master:1 - cgroup2 cgroup rw`,
		`33 31 0:32 / /sys/fs/my\040cgroup/memory rw - cgroup cgroup rw,memory`,
		`34 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct`,
		`short line`, ``,
	}, "\n")
	c := cgroups{
		mounts: parseMountinfo(mountinfo),
		paths:  parseCgroupPaths("4:memory:/m:x\n3:cpu,cpuacct:/\n1:name=systemd:/s\n0::/docker/abc/sub\nnonsense\n"),
	}
	cases := map[string]struct {
		dir string
		ok  bool
	}{
		"":        {"/sys/fs/cgroup/sub", true},
		"memory":  {"/sys/fs/my cgroup/memory/m:x", true},
		"cpuacct": {"/sys/fs/cgroup/cpu,cpuacct", true},
		"pids":    {"", false},
	}
	for controller, want := range cases {
		if dir, ok := c.dir(controller); dir != want.dir || ok != want.ok {
			t.Errorf("%q: %q, %v; want %q, %v", controller, dir, ok, want.dir, want.ok)
		}
	}
	outside := cgroups{mounts: c.mounts, paths: map[string]string{"": "/../../init.scope"}}
	if dir, ok := outside.dir(""); ok {
		t.Errorf("a group outside of the mount is at %q", dir)
	}
	if want := map[string]string{"memory": "/m:x", "cpu": "/", "cpuacct": "/", "name=systemd": "/s", "": "/docker/abc/sub"}; !reflect.DeepEqual(c.paths, want) {
		t.Errorf("paths %v", c.paths)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		"socket":    {WorkRoot: "/w"},
		"work root": {Socket: "/s"},
	} {
		if _, err := o.withDefaults(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	o, err := Options{Socket: "/s", WorkRoot: "/w"}.withDefaults()
	if err != nil || o.MaxWorkers != DefaultMaxWorkers || o.Logger == nil {
		t.Errorf("%+v, %v", o, err)
	}
}
