package tvm_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// handOver gives a long-lived worker a session, and returns its client's end
// and its directory.
func handOver(t *testing.T, agent *net.UnixConn, id string, timeout time.Duration) (net.Conn, string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	client, fd := tcpSession(t)
	defer unix.Close(fd)
	about, err := json.Marshal(map[string]any{
		"id": id, "key": "k", "client": "c", "timeout_s": timeout.Seconds(), "workdir": dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := agent.WriteMsgUnix(append([]byte("S"), about...), unix.UnixRights(fd), nil); err != nil {
		t.Fatal(err)
	}
	return client, dir
}

func wantSays(t *testing.T, agent net.Conn, want string) {
	t.Helper()
	buf := make([]byte, 10)
	if n, err := agent.Read(buf); err != nil || string(buf[:n]) != want {
		t.Fatalf("worker said %q, %v; want %q", buf[:n], err, want)
	}
}

func TestSessionsInARow(t *testing.T) {
	w, agent := waiting(t, "watchdog")
	for i := range 3 {
		id := fmt.Sprint("s", i)
		client, dir := handOver(t, agent, id, time.Hour)
		if _, err := io.WriteString(client, "pid\n"); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintln(w.cmd.Process.Pid, dir)
		if got, err := bufio.NewReader(client).ReadString('\n'); err != nil || got != want {
			t.Errorf("session %s: %q, %v; want %q", id, got, err, want)
		}
		client.Close()
		wantSays(t, agent, "R")
		loop := w.recorded(t)["loop"]
		if fds := fmt.Sprint(loop["fds"]); loop["session"] != id || len(strings.Fields(fds)) != 5 {
			t.Errorf("session %s: loop of %v with descriptors %s, want the standard ones, the agent and the session", id, loop["session"], fds)
		}
		if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", w.cmd.Process.Pid)); err != nil || cwd != w.dir {
			t.Errorf("a worker that waits is in %s, %v; want %s", cwd, err, w.dir)
		}
	}
	agent.Close()
	w.wantExit(t, 0)
}

func TestClientOfALongLivedWorkerBreaksTheProtocol(t *testing.T) {
	w, agent := waiting(t, "watchdog")
	client, _ := handOver(t, agent, "s1", time.Hour)
	if _, err := io.WriteString(client, "bad\n"); err != nil {
		t.Fatal(err)
	}
	wantSays(t, agent, "PR")
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the session goes on")
	}
	client, _ = handOver(t, agent, "s2", 0)
	echo(t, client, "hello\n")
	client.Close()
	wantSays(t, agent, "R")
	agent.Close()
	w.wantExit(t, 0)
}

func TestSessionThatOutlivesItsDeadline(t *testing.T) {
	const timeout = 500 * time.Millisecond
	for line, function := range map[string]string{"spin\n": "spin", "gil\n": "hold_the_gil"} {
		t.Run(function, func(t *testing.T) {
			w, agent := waiting(t, "watchdog")
			first, _ := handOver(t, agent, "s1", timeout) // which is disarmed
			first.Close()
			wantSays(t, agent, "R")
			client, _ := handOver(t, agent, "s2", timeout)
			began := time.Now()
			if _, err := io.WriteString(client, line); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Read(make([]byte, 1)); err == nil {
				t.Error("the session goes on")
			}
			took := time.Since(began)
			w.wantExit(t, 1)
			t.Logf("ended after %v; the deadline was %v", took, timeout)
			if took < timeout-50*time.Millisecond {
				t.Errorf("the worker ended after %v, want %v", took, timeout)
			}
			if !strings.Contains(w.stderr.String(), "in "+function) {
				t.Errorf("stderr %q does not say that the worker was in %s", &w.stderr, function)
			}
		})
	}
}

func TestHeartbeats(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_ = l.SetReadDeadline(time.Now().Add(patience))
	next := func() string {
		t.Helper()
		buf := make([]byte, 100)
		n, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "40000")
	w, agent := waiting(t, "watchdog")
	for range 5 {
		if got := next(); got != "WATCHDOG=1" {
			t.Fatalf("a worker that waits said %q", got)
		}
	}
	client, _ := handOver(t, agent, "s1", time.Minute)
	got := next()
	for got == "WATCHDOG=1" {
		got = next()
	}
	if got != "EXTEND_TIMEOUT_USEC=60000000" {
		t.Errorf("a session of a minute began with %q", got)
	}
	client.Close()
	wantSays(t, agent, "R")
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("after it came %q", got)
	}
	agent.Close()
	w.wantExit(t, 0)
}
