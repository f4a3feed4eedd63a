package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/sidecar/supervise/agent"
)

func TestMain(m *testing.M) {
	agent.MaybeExec()
	goleak.VerifyTestMain(m)
}

func TestCommandLine(t *testing.T) {
	required := []string{"--socket", "/s", "--work-root=/w"}
	cases := map[string]struct {
		args []string
		want func(c config) bool
	}{
		"defaults": {required, func(c config) bool {
			return c.options.Socket == "/s" && c.options.WorkRoot == "/w" && len(c.options.Command) == 0 &&
				!c.options.NoCgroup && !c.dieWithParent && !c.log.JSON && c.log.Level == slog.LevelInfo
		}},
		"everything": {
			append(required, "--core-dir", "/cores", "--drain-timeout", "90s", "--no-cgroup", "--die-with-parent", "--log-format", "JSON", "--log-level=debug", "--", "cmd", "--socket", "--"),
			func(c config) bool {
				return c.options.CoreDir == "/cores" && c.options.DrainTimeout == 90*time.Second &&
					c.options.NoCgroup && c.dieWithParent && c.log.JSON && c.log.Level == slog.LevelDebug &&
					slices.Equal(c.options.Command, []string{"cmd", "--socket", "--"})
			},
		},
		"text, error": {append(required, "--log-format=text", "--log-level=error"), func(c config) bool {
			return !c.log.JSON && c.log.Level == slog.LevelError
		}},
		"version needs nothing else": {[]string{"--version"}, func(c config) bool { return c.version }},
		"help needs nothing else":    {[]string{"--help"}, func(c config) bool { return c.help }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parse(c.args)
			if err != nil || !c.want(got) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestUsageErrorsAreOneLineAndStatusTwo(t *testing.T) {
	cases := map[string][]string{
		"--socket is required":          {"--work-root", "/w"},
		"--work-root is required":       {"--socket", "/s"},
		"-frobnicate":                   {"--frobnicate"},
		`unexpected argument "cmd"`:     {"--socket", "/s", "--work-root", "/w", "cmd"},
		"-1s is negative":               {"--socket", "/s", "--work-root", "/w", "--drain-timeout=-1s"},
		"no command after --":           {"--socket", "/s", "--work-root", "/w", "--"},
		"want text or json":             {"--log-format", "xml"},
		"want debug, info, warn or err": {"--log-level", "loud"},
		"-socket":                       {"--socket"},
	}
	for want, args := range cases {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), args, os.Stdin, &stdout, &stderr)
		if status != exitUsage || strings.Count(stderr.String(), "\n") != 1 || stdout.Len() > 0 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: status %d, %q on stderr, %q on stdout; want %q", args, status, stderr.String(), stdout.String(), want)
		}
	}
}

func TestHelpAndVersionGoToStandardOutput(t *testing.T) {
	for want, arg := range map[string]string{"Examples:": "--help", "go1.": "--version"} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), []string{arg}, os.Stdin, &stdout, &stderr)
		if status != exitOK || !strings.Contains(stdout.String(), want) || stderr.Len() > 0 {
			t.Errorf("%s: status %d, %q, %q", arg, status, stdout.String(), stderr.String())
		}
	}
}

func TestFailureIsStatusOne(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), []string{"--socket", file, "--work-root", file}, os.Stdin, &stdout, &stderr)
	if status != exitFailed || !strings.Contains(stderr.String(), "rpcpool-agent: work root") {
		t.Errorf("status %d, %q", status, stderr.String())
	}
}

// build makes the binary as it is shipped.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "rpcpool-agent")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

func dial(t *testing.T, socket string) *supervise.Link {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		link, err := supervise.Dial(ctx, socket)
		if err == nil {
			t.Cleanup(link.Close)
			return link
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// The agent stays small: it knows no RPC protocol, and 200 sessions with much
// output leave it below 10 MiB (row S0.19).
func TestShippedBinaryIsSmallAndServes(t *testing.T) {
	list := exec.Command("go", "list", "-deps", ".")
	deps, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	known := []string{
		"cmd/agent", "sidecar/supervise", "sidecar/supervise/agent",
		"internal/cgroup", "internal/sleep", "internal/tail", "internal/version", // which know nothing of ours
	}
	for dep := range strings.FieldsSeq(string(deps)) {
		own, isOwn := strings.CutPrefix(dep, "rpcpool.dev/")
		if isOwn && !slices.Contains(known, own) {
			t.Errorf("the agent knows %s", dep)
		}
		if strings.HasPrefix(dep, "github.com/") || strings.HasPrefix(dep, "k8s.io/") {
			t.Errorf("the agent needs %s", dep)
		}
	}

	dir := t.TempDir()
	socket, workRoot := filepath.Join(dir, "s"), filepath.Join(dir, "w")
	cmd := exec.Command(build(t), "--socket", socket, "--work-root", workRoot, "--log-format", "json",
		"--", "/bin/sh", "-c", "head -c 200000 /dev/zero; exit 7")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	link := dial(t, socket)
	if link.Hello().PID != cmd.Process.Pid || len(link.Hello().Command) != 3 {
		t.Errorf("hello %+v", link.Hello())
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for i := range 200 {
		worker := "w" + strconv.Itoa(i)
		if err := link.Start(worker, supervise.Start{}, &supervise.Session{ID: "s"}, int(null.Fd())); err != nil {
			t.Fatal(err)
		}
		for e := range link.Events() {
			if e.Kind != supervise.EventExited {
				continue
			}
			if e.Worker != worker || e.Report.Cause != supervise.CauseCrashExit || e.Report.Code != 7 || len(e.Report.Output) != supervise.StderrTail {
				t.Fatalf("%s: %+v", e.Worker, e.Report.Cause)
			}
			if err := link.Ack(e.Worker, e.Seq); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	rss := residentKiB(t, cmd.Process.Pid)
	t.Logf("resident: %d KiB", rss)
	if rss > 10<<10 {
		t.Errorf("%d KiB resident, want at most 10 MiB", rss)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v; its log:\n%s", err, &log)
	}
	if !strings.Contains(log.String(), `"msg":"agent listens"`) {
		t.Errorf("log: %s", &log)
	}
}

// What the guard adds to each device of a machine is small, and it is the agent
// that says hello.
func TestGuardOfTheShippedBinaryIsSmall(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(build(t), "--socket", socket, "--work-root", filepath.Join(dir, "w"), "--die-with-parent")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	link := dial(t, socket)
	guard := strconv.Itoa(cmd.Process.Pid)
	name, _ := os.ReadFile("/proc/" + guard + "/comm")
	line, _ := os.ReadFile("/proc/" + guard + "/cmdline")
	if !bytes.HasPrefix(line, []byte("rpcpool-agent-guard\x00")) || !bytes.HasPrefix(name, []byte("rpcpool-agent-g")) {
		t.Errorf("the guard is %q, %q", name, line)
	}
	agentName, _ := os.ReadFile("/proc/" + strconv.Itoa(link.Hello().PID) + "/comm")
	if link.Hello().PID == cmd.Process.Pid || string(agentName) != "rpcpool-agent\n" {
		t.Errorf("hello of %d, which is %q", link.Hello().PID, agentName)
	}
	rss := residentKiB(t, cmd.Process.Pid)
	t.Logf("resident: %d KiB", rss)
	if rss > 6<<10 {
		t.Errorf("%d KiB resident, want at most 6 MiB", rss)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v; its log:\n%s", err, &log)
	}
}

// residentKiB reads VmRSS of /proc/PID/status (proc(5)).
func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
