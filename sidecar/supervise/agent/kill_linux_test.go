package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

func TestDeadlineIsKept(t *testing.T) {
	f := runAgent(t)
	const timeout = 300 * time.Millisecond
	for i := range 5 {
		worker := fmt.Sprint("w", i)
		f.warm(worker, f.behaviour("warm", "ignore-term"))
		f.await(supervise.EventReady, worker)
		f.give(worker, timeout)
		r := f.exit(worker, supervise.CauseTimeout)
		// 50 ms of grace are part of it.
		t.Logf("deadline %v + grace 50ms: ended after %v, by signal %v", timeout, r.Wall, r.Signal)
		if r.Wall < timeout || r.Wall > timeout+5*time.Second {
			t.Errorf("ended after %v", r.Wall)
		}
	}
}

func TestRow079_DeadlineOfEachKindOfWorker(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		patient := f.behaviour("echo")
		patient.KillGrace = patience
		f.cold("cold", patient, 100*time.Millisecond)
		if r := f.exit("cold", supervise.CauseTimeout); r.Signal != syscall.SIGTERM {
			t.Errorf("ended by %v, which is not what it was sent first", r.Signal)
		}
		patient = f.behaviour("warm", "on-term", "0")
		patient.KillGrace = patience
		f.warm("in-order", patient)
		f.await(supervise.EventReady, "in-order")
		expect(t, f.give("in-order", time.Second), "up")
		if r := f.exit("in-order", supervise.CauseTimeout); r.Code != 0 || r.Signal != 0 {
			t.Errorf("asked to end, it ended with code %d, signal %v", r.Code, r.Signal)
		}
	})
}

func TestRow081_NothingOfTheTreeSurvives(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		tree := func(worker, then string) []int {
			pids := readPIDs(t, f.cold(worker, f.behaviour("grandchildren", "3", then), 0))
			if len(pids) != 3 {
				t.Fatalf("grandchildren %v", pids)
			}
			return pids
		}
		check := func(what string, pids []int) {
			t.Helper()
			for _, pid := range pids {
				if !gone(pid) {
					t.Errorf("%s: grandchild %d is alive or a zombie", what, pid)
				}
			}
		}
		pids := tree("killed", "wait")
		f.kill("killed", supervise.CauseClientGone, 0)
		f.exit("killed", supervise.CauseClientGone)
		check("killed at once", pids)

		pids = tree("graceful", "wait")
		f.kill("graceful", supervise.CauseKilledDrain, 50*time.Millisecond)
		if r := f.exit("graceful", supervise.CauseKilledDrain); r.Signal != syscall.SIGKILL {
			t.Errorf("deaf to SIGTERM, yet ended by %v", r.Signal)
		}
		check("killed with grace", pids)

		pids = tree("orderly", "exit")
		f.exit("orderly", supervise.CauseCompleted)
		check("ended by itself", pids)

		pids = readPIDs(t, f.cold("escaper", f.behaviour("subreaper-off"), 0))
		f.exit("escaper", supervise.CauseCompleted)
		check("gave up being a subreaper", pids)
	})
}

// Whatever is swept away after others, a live worker keeps what it started.
func TestLiveWorkerKeepsItsDescendants(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		pids := readPIDs(t, f.cold("alive", f.behaviour("grandchildren", "3", "wait"), 0))
		for i := range 5 {
			worker := fmt.Sprint("w", i)
			f.cold(worker, testStart("/bin/sh", "-c", "setsid sleep 1000 & exit 0"), 0)
			f.exit(worker, supervise.CauseCompleted)
		}
		for _, pid := range pids {
			if !alive(pid) {
				t.Errorf("%d was killed, though its worker lives", pid)
			}
		}
	})
}

func TestForkBombIsKilled(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		client := f.cold("chains", f.behaviour("fork-bomb", "4", "exec"), 0)
		expect(t, client, "up")
		f.kill("chains", supervise.CauseClientGone, 0)
		f.exit("chains", supervise.CauseClientGone)
		if left := workerProcesses(t, f.options.WorkRoot); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		for _, hop := range []string{"fast", "fast-setsid"} {
			client = f.cold(hop, f.behaviour("fork-bomb", "3", hop), 0)
			expect(t, client, "up")
			f.kill(hop, supervise.CauseClientGone, 0)
			began := time.Now()
			f.exit(hop, supervise.CauseClientGone)
			t.Logf("%s: killed in %v", hop, time.Since(began))
			if left := workerProcesses(t, f.options.WorkRoot); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		}
		client = f.cold("crowd", testStart("/bin/sh", "-c",
			`trap "" TERM; i=0; while [ $i -lt 50 ]; do (j=0; while [ $j -lt 3000 ]; do sh -c :; j=$((j+1)); done) & i=$((i+1)); done; echo up >&3; wait`), 0)
		expect(t, client, "up\n")
		f.kill("crowd", supervise.CauseClientGone, 0)
		f.exit("crowd", supervise.CauseClientGone)
		if left := workerProcesses(t, f.options.WorkRoot); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestStoppedWorkerEnds(t *testing.T) {
	f := runAgent(t)
	client := f.cold("w1", testStart("/bin/sh", "-c", `echo up >&3; kill -STOP $$; exit 9`), 0)
	expect(t, client, "up\n")
	pid := f.await(supervise.EventStarted, "w1").PID
	eventually(t, "the worker has stopped itself", func() bool {
		p, err := newProcfs().stat(pid)
		return err == nil && p.state == 'T'
	})
	f.kill("w1", supervise.CauseClientGone, patience) // SIGTERM is enough, with SIGCONT
	if r := f.exit("w1", supervise.CauseClientGone); r.Signal != syscall.SIGTERM {
		t.Errorf("ended by %v", r.Signal)
	}
	f.cold("w2", testStart("/bin/sh", "-c", `kill -STOP $$`), 100*time.Millisecond)
	f.exit("w2", supervise.CauseTimeout)
}

func TestWorkerWithoutDescriptorsMeetsItsDeadline(t *testing.T) {
	f := runAgent(t)
	client := f.cold("w1", testStart("/bin/sh", "-c", `exec 0<&- 1>&- 2>&- 3>&-; sleep 1000`), 200*time.Millisecond)
	if got := readAll(t, client); got != "" {
		t.Errorf("session says %q", got)
	}
	f.exit("w1", supervise.CauseTimeout)
}

func TestKillBeforeTheWorkerRuns(t *testing.T) {
	f := runAgent(t)
	for i := range 20 {
		worker := fmt.Sprint("w", i)
		if i%2 == 0 {
			f.warm(worker, f.behaviour("warm", "echo"))
		} else {
			f.cold(worker, f.behaviour("echo"), 0)
		}
		f.kill(worker, supervise.CauseKilledDrain, 0)
		f.exit(worker, supervise.CauseKilledDrain)
	}
}

// One worker's slow end is not the others'.
func TestEndsDoNotWaitForEachOther(t *testing.T) {
	f := runAgent(t)
	slow := f.behaviour("ignore-term")
	client := f.cold("slow", slow, 0)
	expect(t, client, "up")
	f.kill("slow", supervise.CauseClientGone, patience)
	for i := range 5 {
		worker := fmt.Sprint("w", i)
		f.cold(worker, testStart("true"), 0)
		f.exit(worker, supervise.CauseCompleted)
	}
	f.kill("slow", supervise.CauseClientGone, 0) // shortens the grace
	f.exit("slow", supervise.CauseClientGone)
}

// freezer makes a version 1 freezer cgroup: a frozen process does not die of
// SIGKILL until it is thawed, which is what a process stuck in a driver does.
func freezer(t *testing.T) (freeze func(pids ...int), thaw func()) {
	t.Helper()
	groups, err := readCgroups("/")
	if err != nil {
		t.Fatal(err)
	}
	own, ok := groups.dir("freezer")
	if !ok {
		t.Skip("no version 1 freezer is mounted here, so no process can be made unkillable")
	}
	dir := filepath.Join(own, fmt.Sprintf("rpcpool-agent-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("the version 1 freezer is not writable here (%v), so no process can be made unkillable", err)
	}
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	thaw = func() { write("freezer.state", "THAWED") }
	t.Cleanup(func() {
		thaw()
		eventually(t, "the freezer is empty", func() bool { return syscall.Rmdir(dir) == nil })
	})
	freeze = func(pids ...int) {
		for _, pid := range pids {
			write("cgroup.procs", fmt.Sprint(pid))
		}
		write("freezer.state", "FROZEN")
		eventually(t, "the processes are frozen", func() bool {
			b, err := os.ReadFile(filepath.Join(dir, "freezer.state"))
			return err == nil && strings.TrimSpace(string(b)) == "FROZEN"
		})
	}
	return freeze, thaw
}

func TestRow082_UnkillableWorkerIsReported(t *testing.T) {
	freeze, thaw := freezer(t)
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		start := f.behaviour("ignore-term")
		start.ReapTimeout = 100 * time.Millisecond
		expect(t, f.cold("stuck", start, 0), "up")
		pid := f.await(supervise.EventStarted, "stuck").PID
		freeze(pid)
		f.kill("stuck", supervise.CauseTimeout, 0)
		e := f.await(supervise.EventUnkillable, "stuck")
		if e.Report == nil || e.Report.Cause != supervise.CauseUnkillable || e.Session == nil || e.Session.ID != "id-stuck" || !alive(pid) {
			t.Errorf("event %+v, report %+v", e, e.Report)
		}

		// Others live and die meanwhile.
		f.cold("other", testStart("true"), 0)
		f.exit("other", supervise.CauseCompleted)
		pids := readPIDs(t, f.cold("others-tree", f.behaviour("grandchildren", "2", "exit"), 0))
		f.exit("others-tree", supervise.CauseCompleted)
		if slices.ContainsFunc(pids, func(pid int) bool { return !gone(pid) }) {
			t.Error("orphans of another worker live")
		}

		// A sidecar that comes now is told.
		second := connect(t, f.options.Socket)
		if len(second.hello.Workers) != 1 || second.hello.Workers[0].ID != "stuck" {
			t.Errorf("hello %+v", second.hello)
		}
		second.await(supervise.EventUnkillable, "stuck")
		thaw()
		second.exit("stuck", supervise.CauseTimeout)
		if !gone(pid) {
			t.Error("exited, but there")
		}
		f.sidecar = second
	})
}

// An orphan that cannot be killed holds up its own worker's end, no other's.
func TestUnkillableOrphanIsItsWorkersOwn(t *testing.T) {
	freeze, thaw := freezer(t)
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		start := f.behaviour("grandchildren", "2", "wait")
		start.ReapTimeout = 100 * time.Millisecond
		pids := readPIDs(t, f.cold("parent", start, 0))
		freeze(pids...)
		f.kill("parent", supervise.CauseClientGone, 0)
		f.await(supervise.EventUnkillable, "parent")
		for i := range 3 {
			worker := fmt.Sprint("w", i)
			f.cold(worker, testStart("true"), 0)
			f.exit(worker, supervise.CauseCompleted)
		}
		thaw()
		f.exit("parent", supervise.CauseClientGone)
		for _, pid := range pids {
			if !gone(pid) {
				t.Errorf("%d is there", pid)
			}
		}
	})
}

func TestAgentEndsAlthoughAWorkerDoesNot(t *testing.T) {
	freeze, thaw := freezer(t)
	f := runAgent(t)
	start := f.behaviour("ignore-term")
	start.ReapTimeout = 50 * time.Millisecond
	expect(t, f.cold("stuck", start, 0), "up")
	pid := f.await(supervise.EventStarted, "stuck").PID
	freeze(pid)
	err := f.stop()
	if err == nil || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("agent ended with %v", err)
	}
	thaw()
	eventually(t, "the worker is dead", func() bool { return !alive(pid) })
	reapOrphan(pid)
	_ = os.RemoveAll(f.options.WorkRoot)
}

func TestOOMIsToldApartFromOtherKills(t *testing.T) {
	groups, err := readCgroups("/")
	if err != nil {
		t.Fatal(err)
	}
	own, ok := groups.dir("memory")
	if !ok {
		t.Skip("no version 1 memory cgroup is mounted here, so no process can be made to run out of memory")
	}
	dir := filepath.Join(own, fmt.Sprintf("rpcpool-agent-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("the version 1 memory cgroup is not writable here (%v), so no process can be made to run out of memory", err)
	}
	defer func() {
		eventually(t, "the memory cgroup is empty", func() bool { return syscall.Rmdir(dir) == nil })
	}()
	if err := os.WriteFile(filepath.Join(dir, "memory.limit_in_bytes"), []byte(fmt.Sprint(256<<20)), 0); err != nil {
		t.Fatal(err)
	}
	// The agent is in the group from its start on, as it is in a container.
	a := startAgentProcess(t, processOptions{
		wrap: []string{"/bin/sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, dir},
	})
	s := connect(t, a.socket)
	s.cold("hog", testStart("tail", "/dev/zero"), 0)
	if r := s.exit("hog", supervise.CauseOOM); r.Signal != syscall.SIGKILL {
		t.Errorf("report %+v", r)
	}
	s.cold("killed", testStart("/bin/sh", "-c", "kill -KILL $$"), 0)
	s.exit("killed", supervise.CauseCrashSignal)
	a.stop(t)
}
