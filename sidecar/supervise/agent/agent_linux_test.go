package agent

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

func TestColdWorkerServesItsSession(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		client := f.cold("w1", f.behaviour("echo"), 0)
		started := f.await(supervise.EventStarted, "w1")
		if started.PID <= 1 || !alive(started.PID) {
			t.Errorf("pid %d", started.PID)
		}
		if _, err := client.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		expect(t, client, "ping")
		_ = client.Close()
		r := f.exit("w1", supervise.CauseCompleted)
		if r.Code != 0 || r.Wall <= 0 || r.MaxRSS < 1<<20 || r.UserTime+r.SysTime <= 0 {
			t.Errorf("report %+v", r)
		}
		if !gone(started.PID) {
			t.Error("exited, but not reaped")
		}
		if left := dirNames(f.options.WorkRoot); len(left) > 0 {
			t.Errorf("exited, but %v is there", left)
		}
	})
}

func TestWarmWorkerIsReadyThenServes(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		f.warm("w1", f.behaviour("warm", "env", envSession, envSessionID, envKey, envClient, "TEST_TIMEOUT_S"))
		f.await(supervise.EventStarted, "w1")
		f.await(supervise.EventReady, "w1")
		client := f.give("w1", 1500*time.Millisecond)
		got := readAll(t, client)
		want := "RPCPOOL_SESSION=unix\nRPCPOOL_SESSION_ID=id-w1\nRPCPOOL_KEY=key:x\nRPCPOOL_CLIENT=192.0.2.1:7\nTEST_TIMEOUT_S=1.5\n"
		if got != want {
			t.Errorf("worker was told\n%swant\n%s", got, want)
		}
		e := f.await(supervise.EventExited, "w1")
		if e.Session.ID != "id-w1" || e.Report.Cause != supervise.CauseCompleted {
			t.Errorf("end of session %+v: %+v", e.Session, e.Report)
		}
	})
}

func TestColdWorkerKnowsItsSession(t *testing.T) {
	t.Setenv(envSessionID, "of an outer worker")
	f := runAgent(t)
	start := f.behaviour("env", envSession, envSessionID, envKey, envClient, "MINE", "PWD")
	start.Env = append(start.Env, "MINE=1", envSession+"=forged")
	got := readAll(t, f.cold("w1", start, 0))
	dir := filepath.Join(f.options.WorkRoot, WorkDirPrefix+"w1")
	want := "RPCPOOL_SESSION=fd\nRPCPOOL_SESSION_ID=id-w1\nRPCPOOL_KEY=key:x\nRPCPOOL_CLIENT=192.0.2.1:7\nMINE=1\nPWD=" + dir + "\n"
	if got != want {
		t.Errorf("worker was told\n%swant\n%s", got, want)
	}
	f.exit("w1", supervise.CauseCompleted)
	if got, want := readAll(t, f.cold("w2", f.behaviour("cwd"), 0)), filepath.Join(f.options.WorkRoot, WorkDirPrefix+"w2")+" 0"; got != want {
		t.Errorf("cwd and number of entries: %q, want %q", got, want)
	}
	f.exit("w2", supervise.CauseCompleted)
}

// A worker has descriptors 0 to 3 and no other, although the agent's process
// holds one that it inherited without close-on-exec.
func TestRow074_WorkerInheritsFourDescriptors(t *testing.T) {
	leak, err := syscall.Dup(2) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(leak)
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		for worker, warm := range map[string]bool{"cold": false, "warm": true} {
			list := testStart("/bin/ls", "-l", "/proc/self/fd")
			if warm {
				f.warm(worker, list)
			} else {
				f.cold(worker, list, 0)
			}
			e := f.await(supervise.EventExited, worker)
			if fds := listedFDs(e.Report.Output); !slices.Equal(fds, []string{"0", "1", "2", "3"}) {
				t.Errorf("%s: descriptors %v in\n%s", worker, fds, e.Report.Output)
			}
		}
		if got := readAll(t, f.cold("flags", f.behaviour("flags"), 0)); got != "nonblock=false err=<nil>" {
			t.Errorf("cold session: %s", got)
		}
		f.exit("flags", supervise.CauseCompleted)
		f.warm("wflags", f.behaviour("warm", "flags"))
		f.await(supervise.EventReady, "wflags")
		if got := readAll(t, f.give("wflags", 0)); got != "nonblock=false err=<nil>" {
			t.Errorf("warm session: %s", got)
		}
		f.exit("wflags", supervise.CauseCompleted)
	})
}

// listedFDs reads the output of ls -l /proc/self/fd.
func listedFDs(output []byte) []string {
	var fds []string
	for line := range strings.Lines(string(output)) {
		name, target, ok := strings.Cut(strings.TrimSpace(line), " -> ")
		if ok && !strings.HasPrefix(target, "/proc/") { // the listing's own
			fds = append(fds, name[strings.LastIndexByte(name, ' ')+1:])
		}
	}
	return fds
}

func TestNothingIsInheritedWithoutCloseRange(t *testing.T) {
	extra, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	cmd := exec.Command(executablePath(t))
	cmd.Env = append(os.Environ(), roleEnv+"=listed", quickExit)
	cmd.ExtraFiles = []*os.File{extra, extra, extra} // 3, 4 and 5
	out, err := cmd.Output()
	if fds := listedFDs(out); err != nil || !slices.Equal(fds, []string{"0", "1", "2", "3"}) {
		t.Errorf("%v: descriptors %v in\n%s", err, fds, out)
	}
}

func TestRow077_WorkDirectoryIsGoneWithTheWorker(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		f.cold("locked", f.behaviour("lock-dirs"), 0)
		f.exit("locked", supervise.CauseCompleted)
		f.cold("deep", testStart("/bin/sh", "-c",
			`i=0; while [ $i -lt 300 ]; do mkdir d || exit 9; : >f; cd d || exit 9; i=$((i+1)); done`), 0)
		f.exit("deep", supervise.CauseCompleted)
		f.cold("swapped", testStart("/bin/sh", "-c", `cd ..; mv "$RPCPOOL_WORKDIR" moved; ln -s /etc "$RPCPOOL_WORKDIR"`), 0)
		f.exit("swapped", supervise.CauseCompleted)
		if _, err := os.Stat("/etc/passwd"); err != nil {
			t.Error(err)
		}
		if left := dirNames(f.options.WorkRoot); !slices.Equal(left, []string{"moved"}) {
			t.Errorf("left: %v", left)
		}
		_ = os.RemoveAll(filepath.Join(f.options.WorkRoot, "moved")) // renamed by the worker itself: no longer the agent's
	})
}

func TestRow078_EndsAreToldApart(t *testing.T) {
	f := runAgent(t)
	sh := func(script string) *supervise.Start { return testStart("/bin/sh", "-c", script) }
	cases := []struct {
		worker string
		start  *supervise.Start
		cause  supervise.Cause
		code   int
		signal syscall.Signal
		output string
	}{
		{"zero", sh("exit 0"), supervise.CauseCompleted, 0, 0, ""},
		{"seven", sh("echo oops; exit 7"), supervise.CauseCrashExit, 7, 0, "oops\n"},
		{"protocol", sh("exit 76"), supervise.CauseProtocolError, 76, 0, ""},
		{"abort", sh("echo a; echo b >&2; kill -ABRT $$"), supervise.CauseCrashSignal, -1, syscall.SIGABRT, "a\nb\n"},
		{"segv", sh("kill -SEGV $$"), supervise.CauseCrashSignal, -1, syscall.SIGSEGV, ""},
		{"illegal", sh("kill -ILL $$"), supervise.CauseCrashSignal, -1, syscall.SIGILL, ""},
		{"killed by a stranger", sh("kill -KILL $$"), supervise.CauseCrashSignal, -1, syscall.SIGKILL, ""},
		{"terminates itself", sh("kill -TERM $$"), supervise.CauseCrashSignal, -1, syscall.SIGTERM, ""},
	}
	for _, c := range cases {
		worker := strings.ReplaceAll(c.worker, " ", "-")
		f.cold(worker, c.start, 0)
		r := f.exit(worker, c.cause)
		if r.Code != c.code || r.Signal != c.signal || string(r.Output) != c.output {
			t.Errorf("%s: code %d, signal %v, output %q", c.worker, r.Code, r.Signal, r.Output)
		}
	}
}

func TestStartFailuresAreAnswered(t *testing.T) {
	notProgram := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(notProgram, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("\x7fELF but not really"), 0o755); err != nil {
		t.Fatal(err)
	}
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		short := f.behaviour("never-ready")
		short.StartTimeout = 50 * time.Millisecond
		cases := []struct {
			worker string
			start  *supervise.Start
			code   int
			want   string
		}{
			{"absent", testStart("no-such-program"), -1, `worker "no-such-program": not found in PATH`},
			{"absent-path", testStart("/no/such/program"), -1, `worker "/no/such/program": no such file`},
			{"no-interpreter", testStart(notProgram), trampolineExit, "run " + notProgram + ": no such file"},
			{"garbage", testStart(garbage), trampolineExit, "exec format error"},
			{"no-command", testStart(), -1, "no worker command"},
			{"slow", short, -1, "not ready within 50ms"},
			{"quits", f.behaviour("say-then-exit", "cannot open device", "3"), 3, ""},
			{"quits-in-order", f.behaviour("say-then-exit", "no device", "0"), 0, ""},
			{"ready-and-dies", f.behaviour("ready-and-die", "5"), 5, ""},
			{"closes-its-socket", f.behaviour("lose-control"), -1, "closed its control socket"},
		}
		for _, c := range cases {
			f.warm(c.worker, c.start)
		}
		for _, c := range cases {
			r := f.exit(c.worker, supervise.CauseStartFailed)
			if r.Code != c.code || !strings.Contains(r.Error, c.want) || c.want == "" && r.Error != "" {
				t.Errorf("%s: code %d, error %q; want %d, %q", c.worker, r.Code, r.Error, c.code, c.want)
			}
			if strings.HasPrefix(c.worker, "quits") && !bytes.Contains(r.Output, []byte("device\n")) {
				t.Errorf("%s: output %q", c.worker, r.Output)
			}
		}
		client := f.cold("cold-absent", testStart("no-such-program"), time.Minute)
		f.exit("cold-absent", supervise.CauseStartFailed)
		if got := readAll(t, client); got != "" {
			t.Errorf("the session of a worker that never was says %q", got)
		}
	})
}

func TestDefaultCommandServesWhereNoneIsNamed(t *testing.T) {
	f := runAgent(t, func(o *Options) { o.Command = []string{"sh", "-c", "echo default; exit 4"} })
	if !slices.Equal(f.hello.Command, f.options.Command) {
		t.Errorf("hello names %q", f.hello.Command)
	}
	f.cold("w1", testStart(), 0)
	if r := f.exit("w1", supervise.CauseCrashExit); string(r.Output) != "default\n" {
		t.Errorf("output %q", r.Output)
	}
	f.cold("w2", nil, 0)
	f.exit("w2", supervise.CauseCrashExit)
}

func TestOutputIsDrainedAndItsEndKept(t *testing.T) {
	f := runAgent(t)
	f.cold("flood", testStart("/bin/sh", "-c", `head -c 20000000 /dev/zero; echo the end`), 0)
	r := f.exit("flood", supervise.CauseCompleted)
	if len(r.Output) != supervise.StderrTail || !bytes.HasSuffix(r.Output, []byte("\x00the end\n")) {
		t.Errorf("%d bytes kept, ending in %q", len(r.Output), r.Output[max(0, len(r.Output)-20):])
	}
	client := f.cold("for-ever", testStart("/bin/sh", "-c", `head -c 1000000 /dev/zero; echo up >&3; exec yes`), 0)
	expect(t, client, "up\n")
	f.kill("for-ever", supervise.CauseClientGone, 0)
	r = f.exit("for-ever", supervise.CauseClientGone)
	if len(r.Output) != supervise.StderrTail {
		t.Errorf("%d bytes kept", len(r.Output))
	}
}

func TestFileLimitHolds(t *testing.T) {
	f := runAgent(t)
	for worker, limit := range map[string]int64{"limited": 1 << 16, "free": 0} {
		start := f.behaviour("big-file", "1000000")
		start.Limits.File = limit
		f.cold(worker, start, 0)
	}
	f.exit("free", supervise.CauseCompleted)
	// A Go program sees EFBIG, since its runtime handles SIGXFSZ.
	if r := f.exit("limited", supervise.CauseCrashExit); !bytes.Contains(r.Output, []byte("file too large")) {
		t.Errorf("output %q", r.Output)
	}
}

func TestWorkerDiesBeforeTheAgentWhenMemoryIsShort(t *testing.T) {
	f := runAgent(t)
	got := strings.TrimSpace(string(func() []byte {
		f.cold("w1", testStart("cat", "/proc/self/oom_score_adj"), 0)
		return f.exit("w1", supervise.CauseCompleted).Output
	}()))
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	if got == strings.TrimSpace(string(own)) && got != "1000" {
		t.Errorf("the worker's oom_score_adj is %s, as the agent's", got)
	}
}

func TestNonsenseFromTheSidecarIsHarmless(t *testing.T) {
	f := runAgent(t, func(o *Options) { o.MaxWorkers = 3 })
	for _, message := range []string{"", "{", "[]", `"x"`, `{"op":7}`, `{"op":"start","worker":{}}`, "\xff\xfe"} {
		if message == "" {
			continue // an empty packet is how a connection ends
		}
		if _, err := f.raw.Write([]byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	f.send(supervise.Command{}, -1)
	f.send(supervise.Command{Op: "dance", Worker: "w"}, -1)
	f.send(supervise.Command{Op: supervise.OpKill, Worker: "nobody"}, -1)
	f.send(supervise.Command{Op: supervise.OpSession, Worker: "nobody"}, -1)
	theirs, client := sessionPair(t)
	for _, op := range []supervise.Op{"dance", supervise.OpKill, supervise.OpSession} {
		f.send(supervise.Command{Op: op, Worker: "nobody", Session: &supervise.Session{}}, rawFD(t, theirs))
	}
	_ = theirs.Close()
	if got := readAll(t, client); got != "" { // ends, because every copy was closed
		t.Errorf("session says %q", got)
	}

	for worker, want := range map[string]string{"": "0 characters", "a/x": "character", ".": "dot", strings.Repeat("x", 200): "200 characters"} {
		f.warm(worker, f.behaviour("warm", "echo"))
		if r := f.exit(worker, supervise.CauseStartFailed); !strings.Contains(r.Error, want) {
			t.Errorf("id %q: %q", worker, r.Error)
		}
	}
	f.send(supervise.Command{Op: supervise.OpStart, Worker: "no-fd", Start: f.behaviour("echo"), Session: &supervise.Session{}}, -1)
	if r := f.exit("no-fd", supervise.CauseStartFailed); !strings.Contains(r.Error, "without its descriptor") {
		t.Errorf("start without a descriptor: %q", r.Error)
	}
	f.send(supervise.Command{Op: supervise.OpStart, Worker: "bare"}, -1)
	if r := f.exit("bare", supervise.CauseStartFailed); !strings.Contains(r.Error, "no worker command") {
		t.Errorf("start without anything: %q", r.Error)
	}

	f.warm("good", f.behaviour("warm", "echo"))
	f.await(supervise.EventReady, "good")
	f.warm("good", f.behaviour("warm", "echo")) // again: ignored
	f.send(supervise.Command{Op: supervise.OpKill, Worker: "never-ready"}, -1)
	f.warm("early", f.behaviour("never-ready"))
	f.give("early", 0)
	if r := f.exit("early", supervise.CauseStartFailed); !strings.Contains(r.Error, "not ready") {
		t.Errorf("session for a worker that is not ready: %q", r.Error)
	}
	f.warm("no-session-fd", f.behaviour("warm", "echo"))
	f.await(supervise.EventReady, "no-session-fd")
	f.send(supervise.Command{Op: supervise.OpSession, Worker: "no-session-fd", Session: &supervise.Session{}}, -1)
	f.exit("no-session-fd", supervise.CauseStartFailed)

	busy := f.give("good", 0)
	if got := readAll(t, f.give("good", 0)); got != "" { // a second session: refused, the first goes on
		t.Errorf("second session says %q", got)
	}
	if _, err := busy.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	expect(t, busy, "still here")

	f.warm("two", f.behaviour("warm", "echo"))
	f.warm("three", f.behaviour("warm", "echo"))
	f.warm("four", f.behaviour("warm", "echo"))
	if r := f.exit("four", supervise.CauseStartFailed); !strings.Contains(r.Error, "3 workers exist") {
		t.Errorf("one worker too many: %q", r.Error)
	}
	_ = busy.Close()
	f.exit("good", supervise.CauseCompleted)
}

func TestSecondAgentIsRefused(t *testing.T) {
	f := runAgent(t)
	if err := Run(t.Context(), f.options); err == nil || err.Error() != ErrRunning.Error() {
		t.Errorf("second agent in this process: %v", err)
	}
	if _, err := openWorkRoot(f.options.WorkRoot, f.options.Logger); err == nil || !strings.Contains(err.Error(), ErrWorkRootInUse.Error()) {
		t.Errorf("second agent with this work root: %v", err)
	}
}

func TestUnusablePathsAreErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		"work root":    {Socket: filepath.Join(t.TempDir(), "s"), WorkRoot: file},
		"agent socket": {Socket: file, WorkRoot: t.TempDir()},
		"no socket":    {},
	} {
		if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	if err := Run(t.Context(), Options{Socket: filepath.Join(file, "s"), WorkRoot: t.TempDir()}); err == nil {
		t.Error("a socket below a file is accepted")
	}
}

func TestSocketIsForOwnerAndGroup(t *testing.T) {
	f := runAgent(t)
	info, err := os.Stat(f.options.Socket)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Stat(filepath.Dir(f.options.Socket))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o660 || dir.Mode().Perm() != 0o700 {
		t.Errorf("socket %v in %v", info.Mode(), dir.Mode())
	}
}
