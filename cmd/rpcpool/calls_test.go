package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rpcpool.dev/internal/faultproxy"
	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/journal"
	"rpcpool.dev/rpc/rdma/verbs"
	core "rpcpool.dev/rpc/server"
)

// callServer is `rpcpool serve --protocol rpc` as a process, with the built-in worker.
type callServer struct {
	t       *testing.T
	process *os.Process
	addr    string
	metrics string
	log     string // a file
	ended   chan error
}

func startCallServer(t *testing.T, flags ...string) *callServer {
	t.Helper()
	dir := t.TempDir()
	out, log := filepath.Join(dir, "out"), filepath.Join(dir, "log")
	args := append([]string{"serve", "--protocol", "rpc", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"}, flags...)
	cmd := exec.Command(os.Args[0], append(args, "--", os.Args[0], "worker", "--calls")...)
	cmd.Env = append(os.Environ(), envRunAs+"="+asProgram)
	for path, to := range map[string]*io.Writer{out: &cmd.Stdout, log: &cmd.Stderr} {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		*to = f
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &callServer{t: t, process: cmd.Process, log: log, ended: make(chan error, 1)}
	go func() { s.ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = s.process.Kill()
		s.wait()
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("log of the server:\n%s", text)
		}
	})
	s.addr = s.find(out, `serving calls on (127\S+)\n`)
	s.metrics = s.find(log, `msg="serving metrics" addr=(\S+)\n`)
	s.eventually("it is ready", func() bool { return s.get("/readyz") == "ok\n" })
	return s
}

// wait returns how the process has ended.
func (s *callServer) wait() error {
	err := <-s.ended
	s.ended <- err
	return err
}

func (s *callServer) eventually(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// find waits for a line in a file.
func (s *callServer) find(path, pattern string) (found string) {
	s.t.Helper()
	s.eventually(pattern, func() bool {
		text, _ := os.ReadFile(path)
		m := regexp.MustCompile(pattern).FindSubmatch(text)
		if m != nil {
			found = string(m[1])
		}
		return m != nil
	})
	return found
}

func (s *callServer) get(page string) string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.metrics + page)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// metric returns the sum of all series with a name and, in braces, some of their labels; -1 if
// there are none.
func (s *callServer) metric(series string) int {
	name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
	sum, some := 0, false
next:
	for _, m := range regexp.MustCompile(`(?m)^rpcpool_rpc_`+name+`(?:\{(.*)\})? (\d+)$`).FindAllStringSubmatch(s.get("/metrics"), -1) {
		for l := range strings.SplitSeq(labels, ",") {
			if !strings.Contains(m[1], l) {
				continue next
			}
		}
		n, _ := strconv.Atoi(m[2])
		sum, some = sum+n, true
	}
	if !some {
		return -1
	}
	return sum
}

// call runs `rpcpool call`.
func (s *callServer) call(stdin string, args ...string) (status int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	root := newRootCommand("rpcpool")
	root.SetIn(strings.NewReader(stdin))
	status = execRoot(context.Background(), root, append([]string{"call", "--server", s.addr}, args...), &out, &errs)
	return status, out.String(), errs.String()
}

// TestCall: what people see, to the byte.
func TestCall(t *testing.T) {
	s := startCallServer(t)
	for _, c := range []struct {
		name, args, stdin string
		status            int
		stdout, stderr    string
	}{
		{"no argument is null", `echo`, "", exitOK, "null\n", ""},
		{"one is itself", `echo|{"b":[1,-2.5,"x",null,true],"a":{}}`, "", exitOK, `{"a":{},"b":[1,-2.5,"x",null,true]}` + "\n", ""},
		{"several are a list", `echo|1|"two"|[3]`, "", exitOK, `[1,"two",[3]]` + "\n", ""},
		{"what JSON has no word for", `echo|{"$bytes":"AAE="}|{"$float":"NaN"}`, "", exitOK, `[{"$bytes":"AAE="},{"$float":"NaN"}]` + "\n", ""},
		{"numbers of any length", `echo|123456789012345678901234567890`, "", exitOK, "123456789012345678901234567890\n", ""},
		{"printf", `snprintf|10|"The answer is %d"|42`, "", exitOK, `"The answer"` + "\n", ""},
		{"bytes as they are", `--raw|echo`, "\x00any\n", exitOK, "\x00any\n", ""},
		{"bytes in JSON", `--raw|-o|json|echo`, "any", exitOK, `{"$bytes":"YW55"}` + "\n", ""},
		{"the encoded result", `-o|raw|echo|[1]`, "", exitOK, "\x81\x01", ""},
		{"in a lane, any number of times", `--lane|7|--idempotent|--timeout|1m|echo|1`, "", exitOK, "1\n", ""},
		{"no such method", `nope`, "", exitFailed, "", "rpcpool: rpc nope: Unimplemented (NotExecuted): the worker has no such method\n"},
		{"arguments of another method", `sleep|"long"`, "", exitFailed, "", "rpcpool: rpc sleep: Invalid (NotExecuted): arguments: want seconds\n"},
		{"a crash", `crash|"exit"`, "", exitFailed, "", "rpcpool: rpc crash: Crashed (Indeterminate): worker ended: crash-exit, status 3\n"},
		{"a crash that says why", `crash`, "", exitFailed, "", "rpcpool: rpc crash: Crashed (Indeterminate): worker ended: crash-exit, status 2: panic: crash was called\n"},
		{"text without quotes", `echo|hello`, "", exitUsage, "", `rpcpool: argument 1, "hello": json: invalid character 'h' looking for beginning of value (text has quotes of its own: '"text"')` + "\n"},
		{"two values in one", `echo|1|2, 3`, "", exitUsage, "", `rpcpool: argument 2, "2, 3": json: more than one value, the second at byte 1 (text has quotes of its own: '"text"')` + "\n"},
		{"bytes and arguments", `--raw|echo|1`, "", exitUsage, "", `rpcpool: --raw: the argument is on stdin, not "1"` + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := s.call(c.stdin, strings.Split(c.args, "|")...)
			if status != c.status || stdout != c.stdout || stderr != c.stderr {
				t.Errorf("status %d, stdout %q, stderr %q; want %d, %q, %q", status, stdout, stderr, c.status, c.stdout, c.stderr)
			}
		})
	}
}

// TestS4_16_TheIdleTimeoutIsCheckedAtOnce: by the programs, before they do anything.
func TestS4_16_TheIdleTimeoutIsCheckedAtOnce(t *testing.T) {
	for _, args := range [][]string{
		{"call", "--server", "127.0.0.1:1", "echo"},
		{"serve", "--protocol", "rpc", "--listen", "127.0.0.1:0", "--tracker", "127.0.0.1:1", "--", os.Args[0]},
	} {
		t.Setenv("XOSCAR_IDLE_TIMEOUT", "soon")
		if status, _, stderr := execute(t, args...); status != exitUsage || !strings.Contains(stderr, `XOSCAR_IDLE_TIMEOUT="soon"`) {
			t.Errorf("%s: status %d, %q", args[0], status, stderr)
		}
		t.Setenv("RPC_IDLE_TIMEOUT", "10") // comes before it
		if status, _, stderr := execute(t, "call", "--server", "127.0.0.1:1", "echo"); status != exitFailed {
			t.Errorf("a good one: status %d, %q", status, stderr)
		}
		t.Setenv("RPC_IDLE_TIMEOUT", "")
	}
	if status, _, stderr := execute(t, "call", "--idle-timeout", "-1s", "--server", "127.0.0.1:1", "echo"); status != exitUsage || !strings.Contains(stderr, "--idle-timeout") {
		t.Errorf("the flag: status %d, %q", status, stderr)
	}
}

// TestThePageOfOpenCalls: what runs and what waits, with method, client, state and age.
func TestThePageOfOpenCalls(t *testing.T) {
	s := startCallServer(t)
	c, err := rpc.Dial(rpc.ClientOptions{}, s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(rpc.WithTrace(t.Context(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	defer cancel()
	runs := rpc.Spawn[any](ctx, c, "sleep", 3600)
	s.eventually("it runs", func() bool { return s.metric("running") == 1 })
	waits := rpc.Spawn[any](ctx, c, "echo", 1)
	var page string
	row := regexp.MustCompile(`(?m)^"sleep" +running +\S+ +127\.0\.0\.1:\d+ +tcp +\S+ +\S+ +-\n"echo" +queued +\S+ +127\.0\.0\.1:\d+ +tcp +\S+ +- +-$`)
	s.eventually("both are on the page", func() bool { page = s.get("/debug/rpc"); return row.MatchString(page) })
	if !strings.HasPrefix(page, "1 calls run, 1 wait; 1 sessions") {
		t.Errorf("the page is\n%s", page)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.metrics+"/debug/rpc", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	var open []core.Open
	if err := json.NewDecoder(resp.Body).Decode(&open); err != nil {
		t.Fatal(err)
	}
	if len(open) != 2 || open[0].Method != "sleep" || open[0].State != "running" || open[0].For <= 0 || open[0].Age < open[0].For ||
		open[1].State != "queued" || open[1].XID == "" || open[1].Trace != rpc.TraceFrom(ctx) {
		t.Errorf("as JSON: %+v", open)
	}
	cancel()
	for _, f := range []*rpc.Future[any]{runs, waits} {
		if _, err := f.Get(context.Background()); err == nil {
			t.Error("a call that nobody wants has a result")
		}
	}
	s.eventually("the page is empty", func() bool { return strings.HasPrefix(s.get("/debug/rpc"), "0 calls run, 0 wait") })
}

// TestKilledServerAndWhatItsNextLifeSays: the server is killed (-9) while calls run. In
// its next life, with the journal, what had ended is answered, although no answer had
// got through; what ran is Lost; what waited runs. Nothing runs twice.
func TestKilledServerAndWhatItsNextLifeSays(t *testing.T) {
	journal := filepath.Join(t.TempDir(), "journal")
	life := startCallServer(t, "--workers", "2", "--journal", journal)
	var at atomic.Value // the address of the present life
	at.Store(life.addr)
	proxy := func() *faultproxy.Proxy {
		p, err := faultproxy.New(func() string { return at.Load().(string) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	client := func(addr string) *rpc.Client {
		c, err := rpc.Dial(rpc.ClientOptions{}, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	deaf, open := proxy(), proxy()
	first, second := client(deaf.Addr()), client(open.Addr())
	ends := rpc.Spawn[any](t.Context(), first, "sleep", 2)
	life.eventually("it runs", func() bool { return life.metric("running") == 1 })
	deaf.Freeze()
	life.eventually("it has ended", func() bool { return life.metric(`calls_total{code="OK",execution="Executed"}`) == 1 })
	var run []*rpc.Future[any]
	for range 2 {
		run = append(run, rpc.Spawn[any](t.Context(), second, "sleep", 3600))
	}
	life.eventually("both workers are busy", func() bool { return life.metric("running") == 2 })
	waits := rpc.Spawn[any](t.Context(), second, "echo", "waited")
	life.eventually("one waits", func() bool { return life.metric("waiting") == 1 })
	select {
	case <-ends.Done():
		t.Fatal("the answer got through")
	default:
	}

	if err := life.process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = life.wait()
	life = startCallServer(t, "--workers", "2", "--journal", journal)
	at.Store(life.addr)
	deaf.Reset()
	deaf.Thaw()
	open.Reset()

	if _, err := ends.Get(t.Context()); err != nil {
		t.Errorf("what had ended: %v", err)
	}
	for _, f := range run {
		if _, err := f.Get(t.Context()); !errors.Is(err, rpc.Lost) || !errors.Is(err, rpc.Indeterminate) {
			t.Errorf("what ran: %v", err)
		}
	}
	if got, err := waits.Get(t.Context()); err != nil || got != "waited" {
		t.Errorf("what waited: %v, %v", got, err)
	}
	if n := life.metric(`calls_total{code="OK",execution="Executed"}`); n != 1 {
		t.Errorf("%d calls ran in the second life, want the one that had waited", n)
	}
	if n := life.metric("duplicates_total"); n < 3 {
		t.Errorf("%d calls were known to the second life, want 3", n)
	}
}

// TestServeOfCallsStopsInOrder: SIGTERM lets a call end, and refuses the next; the
// status is 0.
func TestServeOfCallsStopsInOrder(t *testing.T) {
	s := startCallServer(t)
	type end struct {
		status         int
		stdout, stderr string
	}
	ended := make(chan end, 1)
	go func() {
		var e end
		e.status, e.stdout, e.stderr = s.call("", "sleep", "4")
		ended <- e
	}()
	s.eventually("it runs", func() bool { return s.metric("running") == 1 })
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.eventually("it drains", func() bool { return s.get("/readyz") == "not ready: the server drains\n" })
	if page := s.get("/healthz"); page != "ok\n" {
		t.Errorf("/healthz: %q", page)
	}
	status, _, stderr := s.call("", "echo", "1")
	if want := "rpcpool: rpc echo: Refused (NotExecuted): server is draining\n"; status != exitFailed || stderr != want {
		t.Errorf("what comes: status %d, %q", status, stderr)
	}
	if e := <-ended; e != (end{exitOK, "null\n", ""}) {
		t.Errorf("what runs: %+v", e)
	}
	if err := s.wait(); err != nil {
		t.Errorf("the server: %v", err)
	}
}

func TestServeKnowsWhoseFlagsAreWhose(t *testing.T) {
	for args, want := range map[string]string{
		"--protocol rpc --key k":                          "rpcpool: --key: is for --protocol tvm",
		"--protocol rpc --data-dir d":                     "rpcpool: --data-dir: is for --protocol tvm",
		"--key k --workers 2":                             "rpcpool: --workers: is for --protocol rpc",
		"--protocol http":                                 `rpcpool: invalid argument "http" for "--protocol" flag: want tvm or rpc (see 'rpcpool serve --help')`,
		"--protocol rpc --workers 0":                      "rpcpool: --workers: 0 is not between 1 and 1024",
		"--protocol rpc --listen x":                       `rpcpool: --listen: address "x": want HOST:PORT: address x: missing port in address`,
		"--protocol rpc --max-timeout -1s":                "rpcpool: --max-timeout: -1s is negative (see 'rpcpool serve --help')",
		"--protocol rpc --rdma-mode perhaps":              `rpcpool: --rdma-mode: "perhaps": want off, auto or required`,
		"--protocol rpc --rdma-silence 0s":                "rpcpool: --rdma-silence: 0s is not within a minute",
		"--protocol rpc --listen 127.0.0.1:0 --unix /x/y": "rpcpool: --unix: listen on /x/y: listen unix /x/y: bind: no such file or directory",
	} {
		status, stdout, stderr := execute(t, append(append([]string{"serve"}, strings.Fields(args)...), "--", "sh")...)
		if status != exitUsage || stdout != "" || stderr != want+"\n" {
			t.Errorf("%s: status %d, stdout %q, stderr %q; want %q", args, status, stdout, stderr, want)
		}
	}
}

// TestRDMAIsRequiredOfAProgramWithout: it says so in one line, and neither serves nor calls.
func TestRDMAIsRequiredOfAProgramWithout(t *testing.T) {
	_, none := verbs.Load()
	if none == nil {
		t.Skip("this program has RDMA")
	}
	status, _, stderr := execute(t, "serve", "--protocol", "rpc", "--listen", "127.0.0.1:0", "--rdma-mode", "required", "--", "sh")
	if want := "rpcpool: --rdma-mode: required, but " + none.Error() + "\n"; status != exitUsage || !strings.HasPrefix(stderr, strings.TrimSuffix(want, "\n")) || strings.Count(stderr, "\n") != 1 {
		t.Errorf("serve: status %d, %q, want %q", status, stderr, want)
	}
	status, _, stderr = execute(t, "call", "--server", "127.0.0.1:1", "--rdma-mode", "required", "echo")
	if want := "rpcpool: RDMA is required: rdma: no-rdma: " + none.Error() + "\n"; status != exitFailed || stderr != want {
		t.Errorf("call: status %d, %q, want %q", status, stderr, want)
	}
	t.Setenv("RPCPOOL_RDMA_MODE", "perhaps")
	status, _, stderr = execute(t, "call", "--server", "127.0.0.1:1", "echo")
	if want := `rpcpool: --rdma-mode: "perhaps": want off, auto or required`; status != exitUsage || !strings.HasPrefix(stderr, want) {
		t.Errorf("call: status %d, %q, want %q", status, stderr, want)
	}
}

func TestServeOfCallsThatCannotStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := journal.Open(path, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	status, stdout, stderr := execute(t, "serve", "--protocol", "rpc", "--listen", "127.0.0.1:0", "--journal", path, "--", os.Args[0])
	if want := "rpcpool: server of calls: journal " + path + ": journal is in use\n"; status != exitFailed || stdout != "" || stderr != want {
		t.Errorf("the journal of another: status %d, stdout %q, stderr %q; want %q", status, stdout, stderr, want)
	}
}

// TestRPCServePage runs the commands of docs/rpc-serve.md: each block of them prints
// what the block of text behind it says.
func TestRPCServePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/rpc-serve.md")
	if err != nil {
		t.Fatal(err)
	}
	script, want := "", ""
	for i, m := range regexp.MustCompile("(?s)```sh\n(.*?)```\n\n```text\n(.*?)```\n").FindAllStringSubmatch(string(page), -1) {
		mark := fmt.Sprintf("--- block %d", i+1)
		script += "echo '" + mark + "'\n" + m[1] + "\n"
		want += mark + "\n" + m[2]
	}
	if want == "" || strings.Count(string(page), "```sh") != strings.Count(want, "--- block") {
		t.Fatal("not every block of commands has its text")
	}
	const port, tracker = "127.0.0.1:9090", "127.0.0.1:9190"
	free := freePorts(t, 2)
	here := strings.NewReplacer(port, fmt.Sprintf("127.0.0.1:%d", free), tracker, fmt.Sprintf("127.0.0.1:%d", free+1))
	there := strings.NewReplacer(fmt.Sprintf("127.0.0.1:%d", free), port, fmt.Sprintf("127.0.0.1:%d", free+1), tracker)
	script = "set -u\n" + here.Replace(script)
	dir := t.TempDir()
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "rpcpool")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	sh := exec.CommandContext(ctx, "sh", "-c", script)
	sh.Dir, sh.Env = dir, append(os.Environ(), envRunAs+"="+asProgram, "PATH="+dir+":"+os.Getenv("PATH"))
	sh.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	defer func() { _ = syscall.Kill(-sh.Process.Pid, syscall.SIGKILL) }() // what the page leaves running
	out, err := sh.CombinedOutput()
	got := there.Replace(string(out))
	if err != nil {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the page and what is printed:\n%s", diff)
	}
}

// freeAddr is an address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
