package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// envRun has the test binary be the program, for tests that signal it.
const envRun = "RPCPOOL_TEST_RUN_SIDECAR"

// patience bounds waits: far beyond what a loaded machine needs.
const patience = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(envRun) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// TestUsage: a wrong flag is one line that names it, status 2, before anything
// is done.
func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"":                                  "--key: ",
		"--key=k --metrics=foo":             `--metrics: address "foo": want HOST:PORT`,
		"--key=k --metrics=:http":           `--metrics: address ":http": "http" is not a port`,
		"--key=k --tracker=foo":             `--tracker: address "foo": want HOST:PORT`,
		"--key=k --advertise=a/b":           `--advertise: host "a/b": `,
		"--key=k --warm=65":                 "--warm: 65 is not between 0 and 64",
		"--key=k --agent-socket=":           "--agent-socket: want a path",
		"--key=k --drain-timeout=-1s":       "--drain-timeout: -1s is negative",
		"--key=k --log-format=xml":          `--log-format: "xml": want text or json`,
		"--key=k --log-level=loud":          "log-level",
		"--key=k --listen=127.0.0.1:http":   "--listen: ",
		"--protocol=udp":                    `invalid value "udp" for flag -protocol: want tvm or rpc`,
		"--protocol=rpc --key=k":            "--key: is for --protocol tvm",
		"--key=k --workers=2":               "--workers: is for --protocol rpc",
		"--protocol=rpc --workers=0":        "--workers: 0 is not between 1 and ",
		"--protocol=rpc --limit-memory=x":   "--limit-memory: ",
		"--protocol=rpc --listen=:http":     "--listen: ",
		"--key=k --session-timeout-max=-1h": "--session-timeout-max: -1h0m0s is not a positive duration",
	} {
		var stdout, stderr bytes.Buffer
		status := run(context.Background(), strings.Fields(args), &stdout, &stderr)
		if text := stderr.String(); status != exitUsage || stdout.Len() > 0 || !strings.Contains(text, want) || strings.Count(text, "\n") != 1 {
			t.Errorf("%q: status %d, stdout %q, stderr %q; want 2 and one line with %q", args, status, stdout.String(), text, want)
		}
	}
}

// TestOutlivesTheReaderOfItsLog: and ends in order when it is told to, twice at
// once.
func TestOutlivesTheReaderOfItsLog(t *testing.T) {
	metrics := freeAddr(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "--key=k", "--listen=127.0.0.1:0", "--metrics="+metrics,
		"--agent-socket="+filepath.Join(t.TempDir(), "agent.sock"))
	cmd.Env = append(os.Environ(), envRun+"=1")
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for !answers(ctx, "http://"+metrics+"/healthz") {
		if ctx.Err() != nil || syscall.Kill(cmd.Process.Pid, 0) != nil || zombie(cmd.Process.Pid) {
			t.Fatalf("ended before it was healthy: %v", cmd.Wait())
		}
	}
	for range 2 {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			break // it was quick
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v, want status 0", err)
	}
}

// TestSecondSignalGrace: the handlers go when the grace ends, not before.
func TestSecondSignalGrace(t *testing.T) {
	type call struct {
		d time.Duration
		f func()
	}
	calls := make(chan call, 1)
	ctx, stop := signals(func(d time.Duration, f func()) { calls <- call{d, f} })
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	c := <-calls
	if c.d != secondSignalGrace {
		t.Errorf("grace of %s, want %s", c.d, secondSignalGrace)
	}
	// Were the handlers gone already, this would end the test. A thread takes a
	// signal to itself before it goes on.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.f()
}

// zombie tells whether a child has ended and was not waited for.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
