//go:build linux

package misbehave_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/workers/go/client"
	"rpcpool.dev/workers/go/internal/doortest"
)

const patience = time.Minute // for everything that must happen

// process is a worker in a process, and a process group, of its own.
type process struct {
	cmd     *exec.Cmd
	session *client.Session
	stderr  bytes.Buffer
	exited  chan struct{}
}

func start(t *testing.T) *process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled := make(chan error, 1)
	p := &process{exited: make(chan struct{})}
	go func() {
		var err error
		p.session, err = client.Dial(t.Context(), l.Addr().String(), "k:1", client.Options{})
		dialled <- err
	}()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := doortest.Greet(conn); err != nil {
		t.Fatal(err)
	}
	f, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	p.run(t, f)
	if err := <-dialled; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.session.Close() })
	return p
}

func (p *process) run(t *testing.T, session *os.File) {
	t.Helper()
	defer session.Close()
	p.cmd = exec.Command(os.Args[0], "-test.run=^$")
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append(os.Environ(), envWorker+"=1", "RPCPOOL_SESSION=fd", "RPCPOOL_WORKDIR="+p.cmd.Dir,
		"GOTRACEBACK=none", "GORACE=atexit_sleep_ms=0")
	p.cmd.ExtraFiles = []*os.File{session}
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.exited
		if t.Failed() {
			t.Logf("worker's stderr:\n%s", &p.stderr)
		}
	})
}

func (p *process) wait(t *testing.T) syscall.WaitStatus {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	case <-time.After(patience):
		t.Fatal("the worker does not end")
		return 0
	}
}

func (p *process) call(t *testing.T, name string, args ...any) any {
	t.Helper()
	result, err := p.session.Call(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// eventually polls for something that nothing announces.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestFunctionsThatEndTheProcess(t *testing.T) {
	cases := []struct {
		name string
		args []any
		want string
	}{
		{"test.segfault", nil, "signal segmentation fault"},
		{"test.illegal", nil, "signal illegal instruction"},
		{"test.abort", nil, "signal aborted"},
		{"test.exit", []any{7}, "exit 7"},
		{"test.exit0", nil, "exit 0"},
		{"test.exit_thread", []any{3}, "exit 3"},
		{"test.panic", nil, "exit 2"},
		{"test.stackoverflow", nil, "exit 2"},
		{"test.closefds", nil, "exit 1"}, // or 2, if the runtime finds its poller closed first
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := start(t)
			if _, err := p.session.Call(t.Context(), c.name, c.args...); !errors.Is(err, client.ErrSessionLost) {
				t.Errorf("the client got %v, want a lost session", err)
			}
			ws := p.wait(t)
			got := fmt.Sprintf("exit %d", ws.ExitStatus())
			if ws.Signaled() {
				got = "signal " + ws.Signal().String()
			}
			pollerFirst := c.name == "test.closefds" && got == "exit 2"
			if got != c.want && !pollerFirst {
				t.Errorf("the process ended by %s, want %s", got, c.want)
			}
		})
	}
}

func TestFunctionsThatHang(t *testing.T) {
	for _, c := range []struct {
		name         string
		survivesTERM bool
	}{{"test.spin", false}, {"test.ignore_sigterm", true}} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { _, _ = p.session.Call(ctx, c.name) }()
			pid := p.cmd.Process.Pid
			eventually(t, "the process computes", func() bool { return cpuTicks(t, pid) > 2 })
			if c.survivesTERM {
				eventually(t, "SIGTERM is ignored", func() bool { return ignores(t, pid, unix.SIGTERM) })
			}
			if err := unix.Kill(pid, unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if !c.survivesTERM {
				if ws := p.wait(t); ws.Signal() != unix.SIGTERM {
					t.Errorf("ended by %v, want SIGTERM", ws)
				}
				return
			}
			before := cpuTicks(t, pid)
			eventually(t, "the process computes on", func() bool { return cpuTicks(t, pid) > before+2 })
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if ws := p.wait(t); ws.Signal() != unix.SIGKILL {
				t.Errorf("ended by %v, want SIGKILL", ws)
			}
		})
	}
}

func TestDeadlockNeverReturns(t *testing.T) {
	p := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := p.session.Call(ctx, "test.deadlock"); err == nil {
		t.Error("test.deadlock returned")
	}
}

func TestWorldIsStopped(t *testing.T) {
	p := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = p.session.Call(ctx, "test.gc_stall") }()
	pid := p.cmd.Process.Pid
	eventually(t, "the process computes", func() bool { return cpuTicks(t, pid) > 5 })
}

func TestSilentFunctionNeverReturns(t *testing.T) {
	p := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := p.session.Call(ctx, "test.silent"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("test.silent returned: %v", err)
	}
}

func TestSigstopStopsTheProcess(t *testing.T) {
	p := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = p.session.Call(ctx, "test.sigstop") }()
	eventually(t, "the process is stopped", func() bool { return procStat(t, p.cmd.Process.Pid)[2] == "T" })
}

func TestGarbageReachesTheClient(t *testing.T) {
	p := start(t)
	if _, err := p.session.Call(t.Context(), "test.garbage"); !errors.Is(err, client.ErrProtocol) {
		t.Errorf("the client got %v, want a protocol error", err)
	}
	if ws := p.wait(t); ws.ExitStatus() != 0 {
		t.Errorf("worker: %v, want exit 0: its client went away", ws)
	}
}

func TestProcessesThatAreLeftBehind(t *testing.T) {
	cases := []struct {
		name       string
		n          int
		ownSession bool
	}{{"test.grandchildren", 3, true}, {"test.forkbomb", 6, false}}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := start(t)
			worker := p.cmd.Process.Pid
			names, _ := p.call(t, c.name, c.n).(string)
			pids := strings.Split(names, ",")
			if len(pids) != c.n {
				t.Fatalf("got %d processes (%s), want %d", len(pids), names, c.n)
			}
			for _, name := range pids {
				pid, err := strconv.Atoi(name)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) })
				stat := procStat(t, pid)
				eventually(t, "SIGTERM is ignored", func() bool { return ignores(t, pid, unix.SIGTERM) })
				if ppid := stat[3]; c.ownSession && ppid == strconv.Itoa(worker) {
					t.Errorf("%d is the worker's child", pid)
				}
				if group := stat[4]; (group == strconv.Itoa(worker)) == c.ownSession {
					t.Errorf("%d is in group %s of worker %d", pid, group, worker)
				}
				if session := stat[5]; c.ownSession && session != name {
					t.Errorf("%d is in session %s, want its own", pid, session)
				}
				if fds := descriptors(t, pid); strings.Contains(fds, "socket:") {
					t.Errorf("%d has the session: %s", pid, fds)
				}
			}
			p.session.Close()
			p.wait(t)
			for _, name := range pids {
				if pid, _ := strconv.Atoi(name); unix.Kill(pid, 0) != nil {
					t.Errorf("%d ended with the worker", pid)
				}
			}
		})
	}
	t.Run("a bomb without bounds is refused", func(t *testing.T) {
		var remote *client.RemoteError
		if _, err := start(t).session.Call(t.Context(), "test.forkbomb", 1_000_000); !errors.As(err, &remote) {
			t.Errorf("got %v, want an exception", err)
		}
	})
}

func TestFunctionsThatTakeResources(t *testing.T) {
	p := start(t)
	const mb = 1 << 20
	p.call(t, "test.hog", 8*mb)
	if got := p.call(t, "test.hog", 8*mb); got != int64(16*mb) {
		t.Errorf("hog holds %v, want %d", got, 16*mb)
	}
	if rss := residentPages(t, p.cmd.Process.Pid) * os.Getpagesize(); rss < 16*mb {
		t.Errorf("%d bytes are resident, want at least %d", rss, 16*mb)
	}
	before := strings.Count(descriptors(t, p.cmd.Process.Pid), os.DevNull)
	p.call(t, "test.leakfd", 20)
	if got := strings.Count(descriptors(t, p.cmd.Process.Pid), os.DevNull); got != before+20 {
		t.Errorf("%d descriptors of %s are open, want %d", got, os.DevNull, before+20)
	}
}

func TestFunctionsThatBehave(t *testing.T) {
	p := start(t)
	t.Setenv("RPCPOOL_TEST_NOT_THERE", "")
	for _, c := range []struct {
		name string
		args []any
		want any
	}{
		{"test.echo", []any{"x"}, "x"},
		{"test.addone", []any{41}, int64(42)},
		{"test.strcat", []any{"a", "b"}, "ab"},
		{"test.sleep", []any{0.001}, nil},
		{"test.pid", nil, int64(p.cmd.Process.Pid)},
		{"test.env", []any{"RPCPOOL_SESSION"}, "fd"},
		{"test.fsize", []any{100_000}, int64(100_000)},
	} {
		if got := p.call(t, c.name, c.args...); got != c.want {
			t.Errorf("%s%v = %v, want %v", c.name, c.args, got, c.want)
		}
	}
	if _, err := os.Stat(p.cmd.Dir + "/test.fsize"); err != nil {
		t.Error(err)
	}
}

// procStat returns the fields of /proc/PID/stat, at most 6 from the front,
// counted as in proc(5) from 0, and the CPU ticks as the seventh.
func procStat(t *testing.T, pid int) []string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	name := strings.LastIndexByte(string(b), ')')
	fields := append([]string{strconv.Itoa(pid), "name"}, strings.Fields(string(b[name+1:]))...)
	return fields
}

func cpuTicks(t *testing.T, pid int) int {
	t.Helper()
	n, _ := strconv.Atoi(procStat(t, pid)[13])
	return n
}

func residentPages(t *testing.T, pid int) int {
	t.Helper()
	n, _ := strconv.Atoi(procStat(t, pid)[23])
	return n
}

func ignores(t *testing.T, pid int, sig syscall.Signal) bool {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if mask, ok := strings.CutPrefix(line, "SigIgn:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return n&(1<<(uint(sig)-1)) != 0
		}
	}
	return false
}

// descriptors lists what a process has open.
func descriptors(t *testing.T, pid int) string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if target, err := os.Readlink(dir + "/" + e.Name()); err == nil {
			all = append(all, e.Name()+"="+target)
		}
	}
	return strings.Join(all, " ")
}
