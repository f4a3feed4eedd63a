// Package tvm_test tests the Python worker against a stand-in for TVM: no TVM
// runs here.
package tvm_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	// Descriptors that whoever started the tests left open are not the workers'.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	goleak.VerifyTestMain(m)
}

const patience = time.Minute // for everything that must happen

// python finds the interpreter. On a CI machine it must be there.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	switch {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatal("CI has no python3: the Python worker is not tested")
	case err != nil:
		t.Skip("no python3 on this machine")
	}
	return path
}

// worker is a Python worker and what an agent has of it.
type worker struct {
	cmd         *exec.Cmd
	dir, record string
	stderr      bytes.Buffer
	exited      chan error
}

// start starts a worker whose descriptor 3 is fd3, which it closes here.
func start(t *testing.T, fd3 int, env ...string) *worker {
	t.Helper()
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	program, err := filepath.Abs("worker.py")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{dir: dir, record: filepath.Join(t.TempDir(), "record"), exited: make(chan error, 1)}
	w.cmd = exec.CommandContext(t.Context(), python(t), program)
	w.cmd.Env = append(os.Environ(), "PYTHONPATH="+testdata, "PYTHONDONTWRITEBYTECODE=1",
		"FAKE_TVM_RECORD="+w.record, "RPCPOOL_WORKDIR="+w.dir)
	w.cmd.Env = append(w.cmd.Env, env...)
	w.cmd.Stderr = &w.stderr
	session := os.NewFile(uintptr(fd3), "fd3")
	w.cmd.ExtraFiles = []*os.File{session}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	session.Close()
	go func() { w.exited <- w.cmd.Wait() }()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("worker's stderr:\n%s", &w.stderr)
		}
	})
	return w
}

func (w *worker) wantExit(t *testing.T, code int) {
	t.Helper()
	select {
	case <-w.exited:
	case <-time.After(patience):
		t.Fatal("the worker does not end")
	}
	if got := w.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit status %d, want %d", got, code)
	}
}

// recorded returns what the stand-in was asked to do, by name.
func (w *worker) recorded(t *testing.T) map[string]map[string]any {
	t.Helper()
	f, err := os.Open(w.record)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := make(map[string]map[string]any)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var one map[string]any
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		what, _ := one["what"].(string)
		delete(one, "what")
		all[what] = one
	}
	return all
}

// tcpSession returns the two ends of a session.
func tcpSession(t *testing.T) (client net.Conn, fd int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	_ = client.SetDeadline(time.Now().Add(patience))
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	f, err := server.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if fd, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		t.Fatal(err)
	}
	return client, fd
}

// spare starts a warm worker and returns the agent's end of its socket.
func spare(t *testing.T) (*worker, *net.UnixConn) {
	t.Helper()
	return waiting(t, "unix")
}

// waiting starts a worker whose sessions come by a socket.
func waiting(t *testing.T, mode string) (*worker, *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "agent")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	w := start(t, fds[1], "RPCPOOL_SESSION="+mode)
	_ = conn.SetDeadline(time.Now().Add(patience))
	ready := make([]byte, 2)
	if n, err := conn.Read(ready); err != nil || string(ready[:n]) != "R" {
		t.Fatalf("worker said %q, %v; want R", ready[:n], err)
	}
	return w, conn.(*net.UnixConn)
}

func begin(t *testing.T, mode string) (*worker, net.Conn) {
	t.Helper()
	if mode == "cold" {
		client, fd := tcpSession(t)
		return start(t, fd, "RPCPOOL_SESSION=fd", "RPCPOOL_SESSION_ID=s1", "RPCPOOL_KEY=k",
			"RPCPOOL_CLIENT=127.0.0.1:1", "RPCPOOL_LOAD_LIBRARY=a.so:b.so"), client
	}
	t.Setenv("RPCPOOL_LOAD_LIBRARY", "a.so:b.so")
	w, agent := spare(t)
	client, fd := tcpSession(t)
	defer unix.Close(fd)
	about := `S{"id":"s1","key":"k","client":"127.0.0.1:1","timeout_s":10}`
	if _, _, err := agent.WriteMsgUnix([]byte(about), unix.UnixRights(fd), nil); err != nil {
		t.Fatal(err)
	}
	return w, client
}

func echo(t *testing.T, c net.Conn, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != line {
		t.Fatalf("session answered %q, %v", got, err)
	}
}

func TestContract(t *testing.T) {
	for _, mode := range []string{"cold", "warm"} {
		t.Run(mode, func(t *testing.T) {
			t.Run("a session that ends in order", func(t *testing.T) {
				w, client := begin(t, mode)
				echo(t, client, "hello\n")
				client.Close()
				w.wantExit(t, 0)
				got := w.recorded(t)
				loop := got["loop"]
				fd, _ := loop["fd"].(float64)
				if diff := cmp.Diff(map[string]any{
					"fd": fd, "socket": true, "blocking": true, "inheritable": false, "cwd": w.dir,
					"session": "s1", "key": "k", "client": "127.0.0.1:1",
					"fds": []any{0., 1., 2., fd},
				}, loop); diff != "" {
					t.Errorf("session loop (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(map[string]any{
					"load_library": "a.so:b.so", "relpath": filepath.Join(w.dir, "lib.so"),
				}, got["server_env"]); diff != "" {
					t.Errorf("environment (-want +got):\n%s", diff)
				}
			})
			t.Run("a client that breaks the protocol", func(t *testing.T) {
				w, client := begin(t, mode)
				echo(t, client, "hello\n")
				if _, err := io.WriteString(client, "bad\n"); err != nil {
					t.Fatal(err)
				}
				w.wantExit(t, 76)
				if !strings.Contains(w.stderr.String(), "unknown RPC code") {
					t.Errorf("stderr %q does not say why", &w.stderr)
				}
			})
		})
	}
}

func TestSpareSetsUpBeforeItIsReady(t *testing.T) {
	w, agent := spare(t)
	if _, ok := w.recorded(t)["server_env"]; !ok {
		t.Error("the worker said that it is ready before it was")
	}
	agent.Close()
	w.wantExit(t, 0)
	if _, ok := w.recorded(t)["loop"]; ok {
		t.Error("a worker without a session served one")
	}
}

func TestImageWithoutTVM(t *testing.T) {
	client, fd := tcpSession(t)
	w := start(t, fd, "RPCPOOL_SESSION=fd", "PYTHONPATH=")
	w.wantExit(t, 1)
	if !strings.Contains(w.stderr.String(), "No module named 'tvm'") {
		t.Errorf("stderr %q does not say what is missing", &w.stderr)
	}
	if n, err := client.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the client got %d bytes, %v; want the end", n, err)
	}
}
