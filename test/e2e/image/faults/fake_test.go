//go:build linux

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	container = "1f0c9d1d4a3be0b3a1f7f0a4d3f6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e"
	another   = "2e0c9d1d4a3be0b3a1f7f0a4d3f6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e"
)

// fake is a process of a made-up /proc.
type fake struct {
	pid, inside, parent int
	name, state         string
	group               string // in all hierarchies
	program             string
	command             []string
	started             int
}

func (f fake) write(t *testing.T, proc string) {
	t.Helper()
	dir := filepath.Join(proc, strconv.Itoa(f.pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"cgroup":  "9:memory:" + f.group + "\n0::" + f.group + "\n",
		"stat":    fmt.Sprintf("%d (%s) %s %d%s %d 0 0\n", f.pid, f.name, f.state, f.parent, strings.Repeat(" 0", 17), f.started),
		"status":  fmt.Sprintf("Name:\t%s\nNSpid:\t%d\t%d\nThreads:\t1\n", f.name, f.pid, f.inside),
		"cmdline": strings.Join(append(f.command, ""), "\x00"),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if f.program != "" {
		if err := os.Symlink(f.program, filepath.Join(dir, "exe")); err != nil {
			t.Fatal(err)
		}
	}
}

// device is a node with a device container, in which somebody executes a shell, and
// another container.
func device(t *testing.T) Node {
	t.Helper()
	proc := t.TempDir()
	const pod = "/k8s-n1/kubepods/burstable/pod77b9/"
	for _, f := range []fake{
		{pid: 1, parent: 0, name: "init", state: "S", group: "/"},
		// Its id is lower than its parent's: ids have started from the beginning.
		{pid: 40, inside: 9, parent: 812, name: "python3", state: "R", group: pod + container + "/worker-1", program: "/usr/bin/python3.11", command: []string{"python3", "/opt/worker.py"}, started: 900},
		{pid: 812, inside: 1, parent: 700, name: "rpcpool-agent", state: "S", group: pod + container, program: "/run/rpcpool/rpcpool-agent", command: []string{"/run/rpcpool/rpcpool-agent", "--"}, started: 500},
		{pid: 820, inside: 8, parent: 812, name: "python3", state: "Z", group: pod + container, started: 600},
		{pid: 831, inside: 12, parent: 700, name: "sh (1)", state: "S", group: pod + container, program: "/bin/busybox (deleted)", command: []string{"sh"}, started: 950},
		{pid: 900, inside: 1, parent: 701, name: "rpcpool-sidecar", state: "S", group: pod + another, program: "/usr/local/bin/rpcpool-sidecar", started: 400},
	} {
		f.write(t, proc)
	}
	if err := os.WriteFile(filepath.Join(proc, "version"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return Node{Proc: proc}
}

func TestTheTreeOfAContainer(t *testing.T) {
	all, err := device(t).Processes("containerd://" + container)
	if err != nil {
		t.Fatal(err)
	}
	want := []Process{
		{PID: 812, Inside: 1, Parent: 700, Name: "rpcpool-agent", State: "S", Command: []string{"/run/rpcpool/rpcpool-agent", "--"}, Children: []Process{
			{PID: 820, Inside: 8, Parent: 812, Name: "python3", State: "Z"},
			{PID: 40, Inside: 9, Parent: 812, Name: "python3", State: "R", Command: []string{"python3", "/opt/worker.py"}},
		}},
		{PID: 831, Inside: 12, Parent: 700, Name: "sh (1)", State: "S", Command: []string{"sh"}},
	}
	if diff := cmp.Diff(want, Tree(all), cmpopts.IgnoreUnexported(Process{})); diff != "" {
		t.Error(diff)
	}
}

func TestTheProcessesThatAreMeant(t *testing.T) {
	all, err := device(t).Processes(container)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		target Target
		want   []int
		err    string
	}{
		"the first is the oldest, whatever its id":       {Target{Init: true}, []int{812}, ""},
		"a worker by its own name, not one that is dead": {Target{Process: "python3"}, []int{40}, ""},
		"a worker by its program":                        {Target{Process: "python3.11"}, []int{40}, ""},
		"a worker by its program, of any version":        {Target{Process: "python"}, []int{40}, ""},
		"a program whose file is gone":                   {Target{Process: "busybox"}, []int{831}, ""},
		"one by its id":                                  {Target{PID: 831}, []int{831}, ""},
		"all, but not one that is dead":                  {Target{}, []int{812, 40, 831}, ""},
		"one of another container":                       {Target{Process: "rpcpool-sidecar"}, nil, "no running process named rpcpool-sidecar; it has 812 rpcpool-agent (S), 820 python3 (Z)"},
		"one by the id of another container's":           {Target{PID: 900}, nil, "no running process with the id 900"},
		"a part of a name is none":                       {Target{Process: "rpcpool"}, nil, "no running process named rpcpool"},
	} {
		tc.target.Container = container
		chosen, err := tc.target.choose(all)
		var got []int
		for _, p := range chosen {
			got = append(got, p.PID)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		if (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v, want %q", name, err, tc.err)
		}
	}
}

func TestAContainerThatIsNotHereIsAnError(t *testing.T) {
	for id, want := range map[string]string{
		strings.Repeat("0", 64): "no process of container 0000",
		"":                      "want the whole id",
		"containerd://":         "want the whole id",
		"../../1f0c9d1d4a3be0":  "want the whole id",
		container[:11]:          "want the whole id",
		container[:12]:          "no process of container 1f0c9d1d4a3b in",
	} {
		if _, err := device(t).Processes(id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", id, err, want)
		}
	}
	if _, err := (Node{Proc: filepath.Join(t.TempDir(), "missing")}).Processes(container); err == nil {
		t.Error("no /proc is no error")
	}
}

func TestAProcessBelongsToTheContainerOfItsGroup(t *testing.T) {
	const uid = "pod1f0c9d1d_4a3b"
	for name, tc := range map[string]struct {
		groups string
		want   bool
	}{
		"version 2, cgroupfs":                  {"0::/kubepods/besteffort/" + uid + "/" + container, true},
		"version 2, systemd":                   {"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-" + uid + ".slice/cri-containerd-" + container + ".scope", true},
		"version 2, another pod's own view":    {"0::/../../" + uid + "/" + container, true},
		"version 1, cgroupfs":                  {"12:pids:/\n9:memory:/kubepods/" + uid + "/" + container + "\n1:name=systemd:/", true},
		"version 1, systemd":                   {"9:cpu,cpuacct:/kubepods.slice/kubepods-" + uid + ".slice/cri-containerd-" + container + ".scope", true},
		"a group for systemd, made without it": {"9:cpu:/system.slice/kubepods-" + uid + ".slice:cri-containerd:" + container, true},
		"a group of the container's own":       {"0::/kubepods/" + uid + "/" + container + "/rpcpool/worker-7", true},
		"CRI-O":                                {"0::/kubepods.slice/crio-" + container + ".scope", true},
		"the pod's":                            {"0::/kubepods/" + uid, false},
		"another container of the pod":         {"0::/kubepods/" + uid + "/" + another, false},
		"a longer id":                          {"0::/kubepods/" + uid + "/0" + container, false},
		"the node's":                           {"0::/", false},
		"no groups":                            {"\n", false},
	} {
		if got := within(tc.groups+"\n", container); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
