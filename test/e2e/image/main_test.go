//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"rpcpool.dev/test/e2e/image/faults"
	"rpcpool.dev/test/internal/proc"
)

// asPause makes this test program the sandbox of a pod, to whom a shell has just
// left an orphan that ends when standard input does.
const asPause = "RPCPOOL_E2E_TEST_PAUSE"

func TestMain(m *testing.M) {
	if os.Getenv(asPause) != "" {
		os.Exit(sandbox())
	}
	goleak.VerifyTestMain(m)
}

func sandbox() int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 3
	}
	shell := exec.Command("sh", "-c", "exec 3<&0; cat <&3 & exit")
	shell.Stdin = os.Stdin
	if err := shell.Start(); err != nil {
		return 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return run(ctx, []string{"pause"}, os.Stdout, os.Stderr)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestASandboxReapsItsOrphansAndEndsWhenTold(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asPause+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Process.Kill() })
	below := func() string {
		all, err := proc.Descendants(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		names := make([]string, 0, len(all))
		for _, p := range all {
			names = append(names, p.Name)
		}
		return strings.Join(names, " ")
	}
	eventually(t, "the shell is reaped, its child is an orphan", func() bool { return below() == "cat" })
	_ = stdin.Close()
	eventually(t, "the orphan is reaped", func() bool { return below() == "" })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// outcome is what a command line did.
type outcome struct {
	status         int
	stdout, stderr string
}

func execute(args ...string) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var stdout, stderr strings.Builder
	status := run(ctx, args, &stdout, &stderr)
	return outcome{status, stdout.String(), stderr.String()}
}

func TestWrongUsageIsSaidInOneLine(t *testing.T) {
	const id = "1f0c9d1d4a3be0b3a1f7f0a4d3f6b7c8"
	for _, line := range []string{
		"", "fault", "faults", "faults list", "faults list --colour", "faults kill", "faults kill --container " + id + " all",
		"faults kill --container " + id + " --init --pid 7", "faults kill --container " + id + " --signal 65",
		"deviceplugin", "deviceplugin --devices 3b:00.2", "deviceplugin --devices 0000:3b:00.2,0000:3b:00.2", "deviceplugin --env-info",
		"deviceplugin --devices 0000:3b:00.2 --mount-sysfs", "deviceplugin make", "deviceplugin make --dev /none", "deviceplugin clean", "deviceplugin clean --dev /none",
		"deviceplugin set-health", "deviceplugin set-health 0000:3b:00.2 ill", "deviceplugin set-health mlx5_0 healthy",
	} {
		o := execute(strings.Fields(line)...)
		if o.status != exitUsage || strings.Count(o.stderr, "\n") != 1 || !strings.Contains(o.stderr, "see rpcpool-e2e --help") {
			t.Errorf("%q: %+v", line, o)
		}
	}
	for _, line := range []string{"--help", "faults list --help", "deviceplugin -h"} {
		if o := execute(strings.Fields(line)...); o.status != exitOK || !strings.Contains(o.stdout, "Examples:") {
			t.Errorf("%q: %+v", line, o)
		}
	}
}

// TestFaultsPrintsJSON: of a process whose control group is said to be a container.
func TestFaultsPrintsJSON(t *testing.T) {
	const id = "1f0c9d1d4a3be0b3a1f7f0a4d3f6b7c8"
	cat := exec.Command("cat")
	stdin, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cat.Wait() })
	pid := strconv.Itoa(cat.Process.Pid)
	node := t.TempDir()
	dir := filepath.Join(node, pid)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup"), []byte("0::/kubepods/"+id+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stat", "status", "cmdline", "exe", "mountinfo", "environ"} {
		if err := os.Symlink(filepath.Join("/proc", pid, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}

	var listed []faults.Process
	o := execute("faults", "list", "--container", id, "--proc", node)
	if err := json.Unmarshal([]byte(o.stdout), &listed); err != nil || len(listed) != 1 || listed[0].PID != cat.Process.Pid {
		t.Fatalf("%+v, %v", o, err)
	}
	var mounts []string
	o = execute("faults", "mounts", "--container", id, "--proc", node)
	if err := json.Unmarshal([]byte(o.stdout), &mounts); err != nil || !slices.Contains(mounts, "/") {
		t.Errorf("%+v, %v", o, err)
	}
	var environment map[string]string
	o = execute("faults", "environ", "--container", id, "--proc", node)
	if err := json.Unmarshal([]byte(o.stdout), &environment); err != nil || environment["PATH"] != os.Getenv("PATH") {
		t.Errorf("%+v, %v", o, err)
	}
	var report faults.Report
	o = execute("faults", "kill", "--container", id, "--process", listed[0].Name, "--proc", node)
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil || len(report.Hits) != 1 || report.Hits[0].PID != cat.Process.Pid {
		t.Fatalf("%+v, %v", o, err)
	}
	var exit *exec.ExitError
	if err := cat.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Error(err)
	}
	if o := execute("faults", "kill", "--container", id, "--proc", t.TempDir()); o.status != exitFailed || o.stdout != "" || !strings.Contains(o.stderr, "no process of container "+id) {
		t.Errorf("%+v", o)
	}
}

func TestHealthIsSetInAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "unhealthy")
	for _, step := range []struct{ line, want string }{
		{"0000:3b:00.3 unhealthy --unhealthy-file " + file, "0000:3b:00.3\n"},
		{"--unhealthy-file " + file + " 0000:3b:00.2 unhealthy", "0000:3b:00.2\n0000:3b:00.3\n"},
		{"0000:3b:00.3 healthy --unhealthy-file=" + file, "0000:3b:00.2\n"},
	} {
		o := execute(append([]string{"deviceplugin", "set-health"}, strings.Fields(step.line)...)...)
		text, err := os.ReadFile(file)
		if o.status != exitOK || err != nil || string(text) != step.want {
			t.Errorf("%s: %+v, file %q, %v", step.line, o, text, err)
		}
	}
}

// TestTheDevicePluginPreparesItsNode: up to where there is no kubelet's directory.
func TestTheDevicePluginPreparesItsNode(t *testing.T) {
	root := t.TempDir()
	o := execute("deviceplugin", "--devices", "0000:3b:00.2,0000:3b:00.3", "--nodes=false", "--fake-sysfs", root, "--dir", filepath.Join(root, "missing"))
	if o.status != exitFailed || !strings.Contains(o.stderr, "missing") {
		t.Errorf("%+v", o)
	}
	got := make(map[string]string)
	for _, name := range []string{"net/ens1f0v1/mtu", "infiniband/mlx5_1/ports/1/state", "infiniband/mlx5_1/ports/1/gids/0", "infiniband/mlx5_1/ports/1/gids/3"} {
		text, err := os.ReadFile(filepath.Join(root, "bus/pci/devices/0000:3b:00.3", name))
		if err != nil {
			t.Error(err)
		}
		got[filepath.Base(filepath.Dir(name))+"/"+filepath.Base(name)] = string(text)
	}
	want := map[string]string{
		"ens1f0v1/mtu": "9000\n",
		"1/state":      "4: ACTIVE\n",
		"gids/0":       "fe80:0000:0000:0000:0200:00ff:fe00:0001\n",
		"gids/3":       "0000:0000:0000:0000:0000:ffff:c612:0002\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	// The pod that has got the device has another address, and then no link.
	port := filepath.Join(root, "bus/pci/devices/0000:3b:00.3/infiniband/mlx5_1/ports/1")
	for state, want := range map[string]string{"active": "4: ACTIVE\n", "down": "1: DOWN\n"} {
		o := execute("deviceplugin", "set-port", "0000:3b:00.3", state, "--fake-sysfs", root, "--ip", "10.99.1.7")
		text, err := os.ReadFile(filepath.Join(port, "state"))
		gid, err2 := os.ReadFile(filepath.Join(port, "gids/3"))
		if o.status != exitOK || errors.Join(err, err2) != nil || string(text) != want || string(gid) != "0000:0000:0000:0000:0000:ffff:0a63:0107\n" {
			t.Errorf("%s: %+v, state %q, GID %q, %v, %v", state, o, text, gid, err, err2)
		}
	}
	// The next plugin leaves a port as it is, here down.
	if o := execute("deviceplugin", "set-port", "0000:3b:00.3", "down", "--fake-sysfs", root); o.status != exitOK {
		t.Error(o)
	}
	before, err := os.ReadFile(filepath.Join(port, "state"))
	execute("deviceplugin", "--devices", "0000:3b:00.2,0000:3b:00.3", "--nodes=false", "--fake-sysfs", root, "--dir", filepath.Join(root, "missing"))
	if after, err2 := os.ReadFile(filepath.Join(port, "state")); errors.Join(err, err2) != nil || string(after) != string(before) {
		t.Errorf("state %q is now %q, %v, %v", before, after, err, err2)
	}
	if o := execute("deviceplugin", "set-port", "0000:3b:00.7", "down", "--fake-sysfs", root); o.status != exitFailed || !strings.Contains(o.stderr, "0000:3b:00.7") {
		t.Errorf("a device that is not there: %+v", o)
	}
	for _, want := range []string{"[\n  \"" + root + "\"\n]\n", "null\n"} {
		if o := execute("deviceplugin", "clean", "--dev", filepath.Join(root, "missing"), "--state", root); o.status != exitOK || o.stdout != want {
			t.Errorf("it removes %+v, want %s", o, want)
		}
	}
}
