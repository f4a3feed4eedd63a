package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// program is this test binary as a program that can be signalled.
func program(t *testing.T, as string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), envRunAs+"="+as)
	return cmd
}

// unread returns a pipe whose reader is gone.
func unread(t *testing.T) *os.File {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = write.Close() })
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	return write
}

// TestServersOutliveTheReaderOfTheirOutput: a pool goes on when `| head` or a
// log collector has gone away, and still stops in order.
func TestServersOutliveTheReaderOfTheirOutput(t *testing.T) {
	buildPrograms(t)
	first := freePorts(t, 4)
	metrics := fmt.Sprintf("127.0.0.1:%d", first+3)
	for name, args := range map[string][]string{
		"tracker": {"tracker", "--listen", "127.0.0.1:0"},
		"serve":   {"serve", "--key", "k", "--listen", "127.0.0.1:0", "--", "rpcpool-worker"},
		"local":   {"local", "-f", writeManifest(t, first, first+1, "rpcpool-worker"), "--data-dir", filepath.Join(t.TempDir(), "d")},
	} {
		t.Run(name, func(t *testing.T) {
			// It is told where metrics are served only after it has printed and logged.
			cmd := program(t, asProgram, append([]string{args[0], "--metrics", metrics}, args[1:]...)...)
			cmd.Stdout, cmd.Stderr = unread(t), unread(t)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan int, 1)
			go func() {
				_ = cmd.Wait()
				ended <- cmd.ProcessState.ExitCode()
			}()
			wait(t.Context(), t, ended, "ready", func() bool { return status("http://"+metrics+"/readyz") == http.StatusOK })
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if got := <-ended; got != exitOK {
				t.Errorf("status %d (%s), want %d", got, cmd.ProcessState, exitOK)
			}
		})
	}
}

// TestACommandWithoutReaderEndsQuietly: as every filter does in `rpcpool … |
// head -1`, by SIGPIPE and without a word.
func TestACommandWithoutReaderEndsQuietly(t *testing.T) {
	tracker, _ := startTracker(t)
	var stderr bytes.Buffer
	cmd := program(t, asProgram, "query", "--tracker", tracker)
	cmd.Stdout, cmd.Stderr = unread(t), &stderr
	err := cmd.Run()
	if killer := signalOf(err); killer != syscall.SIGPIPE || stderr.Len() > 0 {
		t.Errorf("ended with %v, stderr %q; want SIGPIPE and nothing", err, stderr.String())
	}
}

// signalOf returns the signal that ended a program, 0 if none did.
func signalOf(err error) syscall.Signal {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0
	}
	ws, ok := exit.Sys().(syscall.WaitStatus)
	if !ok || !ws.Signaled() {
		return 0
	}
	return ws.Signal()
}

// TestSecondSignal: whoever signals a process and its group delivers a signal
// twice; that is one request to stop. Later it is a second one.
func TestSecondSignal(t *testing.T) {
	for name, tc := range map[string]struct {
		as      string
		first   syscall.Signal
		second  syscall.Signal
		outcome string
		killer  syscall.Signal
	}{
		"the same signal twice at once": {asEarly, syscall.SIGTERM, syscall.SIGTERM, lineAlive, 0},
		"another signal at once":        {asEarly, syscall.SIGINT, syscall.SIGTERM, lineAlive, 0},
		"the same signal again, later":  {asLate, syscall.SIGTERM, syscall.SIGTERM, "", syscall.SIGTERM},
		"another signal, later":         {asLate, syscall.SIGINT, syscall.SIGTERM, "", syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program(t, tc.as)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(stdout)
			expect(t, lines, lineStarted)
			signalTo(t, cmd, tc.first)
			expect(t, lines, lineAsked)
			signalTo(t, cmd, tc.second)
			if tc.killer == 0 {
				if _, err := io.WriteString(stdin, "how are you?\n"); err != nil {
					t.Error(err)
				}
			}
			expect(t, lines, tc.outcome)
			_ = stdin.Close()
			if err := cmd.Wait(); signalOf(err) != tc.killer {
				t.Errorf("ended with %v, want signal %d", err, tc.killer)
			}
		})
	}
}

func signalTo(t *testing.T, cmd *exec.Cmd, sig syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// expect reads a line, or the end for an empty one.
func expect(t *testing.T, lines *bufio.Reader, want string) {
	t.Helper()
	if got, err := lines.ReadString('\n'); got != want {
		t.Errorf("printed %q (%v), want %q", got, err, want)
	}
}
