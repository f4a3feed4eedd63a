package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"rpcpool.dev/sidecar/supervise"
)

// bounded skips a test where a limit cannot be enforced.
func bounded(t *testing.T, f *fixture, limit string) {
	t.Helper()
	if why, unbounded := f.hello.Unbounded[limit]; unbounded {
		t.Skipf("no limit %q here: %s", limit, why)
	}
}

func TestMemoryLimitKillsItsWorkerAlone(t *testing.T) {
	const limit = 32 << 20
	f := runAgent(t)
	bounded(t, f, "memory")
	neighbour := f.cold("neighbour", f.behaviour("echo"), 0)
	f.await(supervise.EventStarted, "neighbour")

	hog := testStart("tail", "/dev/zero")
	hog.Limits.Memory = limit
	f.cold("hog", hog, 0)
	// It is killed by somebody else, in the moment in which the hog is by the kernel.
	f.cold("killed", testStart("/bin/sh", "-c", "sleep 0.05; kill -KILL $$"), 0)
	r := f.exit("hog", supervise.CauseOOM)
	if r.Signal != syscall.SIGKILL || r.Limit != supervise.LimitMemory {
		t.Errorf("report %+v", r)
	}
	if r.PeakMemory < limit/2 || r.PeakMemory > limit {
		t.Errorf("it used %d bytes at most, the limit is %d", r.PeakMemory, limit)
	}
	if r := f.exit("killed", supervise.CauseCrashSignal); r.Limit != "" {
		t.Errorf("report %+v", r)
	}
	if _, err := neighbour.Write([]byte("alive")); err != nil {
		t.Fatal(err)
	}
	expect(t, neighbour, "alive")
	_ = neighbour.Close()
	if r := f.exit("neighbour", supervise.CauseCompleted); r.PeakMemory <= 0 {
		t.Errorf("no peak of memory without a limit: %+v", r)
	}
}

// A worker that stays within its limit notices nothing of it.
func TestMemoryLimitLeavesTheRest(t *testing.T) {
	f := runAgent(t)
	bounded(t, f, "memory")
	start := testStart("/bin/sh", "-c", "head -c 10000000 /dev/zero > file && echo done >&3")
	start.Limits = supervise.Limits{Memory: 64 << 20, CPU: 2000, Processes: 50}
	client := f.cold("modest", start, 0)
	if got := readAll(t, client); got != "done\n" {
		t.Errorf("said %q", got)
	}
	f.exit("modest", supervise.CauseCompleted)
}

func TestProcessLimit(t *testing.T) {
	f := runAgent(t)
	bounded(t, f, "processes")
	const limit = 60
	var n int
	var again bool
	client := f.cold("forks", f.limited(supervise.Limits{Processes: limit}, "forks"), 0)
	if _, err := fmt.Sscan(readAll(t, client), &n, &again); err != nil || !again || n < limit/2 || n >= limit {
		t.Errorf("%d processes beside the worker's threads (EAGAIN: %v), %v", n, again, err)
	}
	f.exit("forks", supervise.CauseCompleted)
}

// The trampoline is a Go program with threads, and must not fail for that.
func TestProcessLimitMayBeOne(t *testing.T) {
	f := runAgent(t)
	bounded(t, f, "processes")
	for i := range 20 {
		start := testStart("/bin/sh", "-c", "echo alone >&3; /bin/true")
		start.Limits.Processes = 1
		worker := fmt.Sprint("w", i)
		if got := readAll(t, f.cold(worker, start, 0)); got != "alone\n" {
			t.Fatalf("said %q", got)
		}
		if r := f.exit(worker, supervise.CauseCrashExit); !strings.Contains(string(r.Output), "fork") {
			t.Fatalf("report %+v, output %q", r, r.Output)
		}
	}
}

func TestCPULimit(t *testing.T) {
	f := runAgent(t)
	bounded(t, f, "cpu")
	var share float64
	client := f.cold("spin", f.limited(supervise.Limits{CPU: 200}, "spin"), 0)
	if _, err := fmt.Sscan(readAll(t, client), &share); err != nil || share > 0.35 {
		t.Errorf("it got %.2f of a core, %v", share, err)
	}
	f.exit("spin", supervise.CauseCompleted)
}

func TestOpenFilesLimitIsOfEachProcess(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		const limit = 60
		var own, childs int
		var ownFull, childFull bool
		client := f.cold("files", f.limited(supervise.Limits{OpenFiles: limit}, "files"), 0)
		_, err := fmt.Sscan(readAll(t, client), &own, &ownFull, &childs, &childFull)
		if err != nil || !ownFull || !childFull || own < limit/2 || own >= limit || childs < limit/2 || childs >= limit {
			t.Errorf("%d (EMFILE: %v) and %d (EMFILE: %v), %v", own, ownFull, childs, childFull, err)
		}
		f.exit("files", supervise.CauseCompleted)
	})
}

func TestFileLimit(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		const limit = 100_000
		start := testStart("/bin/sh", "-c", "head -c 200000 /dev/zero > a; wc -c < a >&3; head -c 90000 /dev/zero > b && wc -c < b >&3")
		start.Limits.File = limit
		client := f.cold("w", start, 0)
		if got := strings.Fields(readAll(t, client)); len(got) != 2 || got[0] != fmt.Sprint(limit) || got[1] != "90000" {
			t.Errorf("files of %v bytes", got)
		}
		f.exit("w", supervise.CauseCompleted)
	})
}

func TestResourceLimitsAreNotRaised(t *testing.T) {
	f := runAgent(t)
	start := testStart("/bin/sh", "-c", "ulimit -Hn >&3; ulimit -Sn >&3")
	start.Limits.OpenFiles = 1 << 40
	var hard, soft int64
	if _, err := fmt.Sscan(readAll(t, f.cold("w", start, 0)), &hard, &soft); err != nil || hard >= 1<<40 || soft > hard {
		t.Errorf("hard %d, soft %d, %v", hard, soft, err)
	}
	f.exit("w", supervise.CauseCompleted)
}

func TestUnboundedLimitsAreNamed(t *testing.T) {
	var none *groups
	for limit, why := range none.unbounded() {
		if !strings.Contains(why, "no control groups") {
			t.Errorf("%s: %q", limit, why)
		}
	}
	half := &groups{
		controllers: map[string]string{controlMemory: "/m", controlCPU: "/c"},
		lacks:       map[string]string{},
	}
	half.lack(controlPids, &os.PathError{Op: "mkdir", Path: "/p", Err: syscall.EROFS})
	half.lack(controlCPU, syscall.EACCES) // it was lost later
	want := map[string]string{
		"cpu":       "no writable cpu control group: permission denied",
		"processes": "no writable pids control group: read-only file system",
	}
	if got := half.unbounded(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	half.lack(controlCPU, nil) // and works again
	half.controllers[controlPids] = "/p"
	half.lack(controlPids, nil)
	if got := half.unbounded(); got != nil {
		t.Errorf("got %v", got)
	}
	f := runAgent(t, func(o *Options) { o.NoCgroup = true })
	if len(f.hello.Unbounded) != len(limitControllers()) {
		t.Errorf("hello says %v", f.hello.Unbounded)
	}
}

// With limits or without, nothing stays behind in any hierarchy.
func TestGroupsAreRemoved(t *testing.T) {
	f := runAgent(t)
	groups, err := newGroups(newProcfs())
	if err != nil {
		t.Skipf("no control groups can be made here: %v", err)
	}
	for i := range 20 {
		start := testStart("/bin/sh", "-c", "setsid sleep 1000 & echo up >&3")
		if i%2 == 0 {
			start.Limits = supervise.Limits{Memory: 64 << 20, CPU: 1000, Processes: 20}
		}
		worker := fmt.Sprint("removed", i)
		expect(t, f.cold(worker, start, 0), "up\n")
		f.exit(worker, supervise.CauseCompleted)
	}
	dirs := map[string]bool{groups.dir: groups.dir != ""}
	for _, dir := range groups.controllers {
		dirs[dir] = true
	}
	for dir, is := range dirs {
		if left, _ := filepath.Glob(dir + "/worker-removed*"); is && len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	for dir, is := range dirs {
		others, _ := filepath.Glob(dir + "/worker-*") // unkillable ones, of tests before
		if _, err := os.Stat(dir); is && err == nil && len(others) == 0 {
			t.Errorf("%s is there", dir)
		}
	}
}
