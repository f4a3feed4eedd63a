package sidecar

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"rpcpool.dev/internal/tcp"
)

// script writes an executable shell script that stands in for the agent.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnAgentThatEndsIsStartedAgain(t *testing.T) {
	dir := t.TempDir()
	path := script(t, `echo "$@" >> "$2.starts"; exit 3`)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	o := AgentOptions{Path: path, Dir: dir, Args: []string{"--no-cgroup"}, Logger: quiet()}
	go func() { ended <- RunAgent(ctx, o) }()
	var starts string
	eventually(t, "three starts", func() bool {
		b, _ := os.ReadFile(o.Socket() + ".starts")
		starts = string(b)
		return strings.Count(starts, "\n") >= 3
	})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("error %v", err)
	}
	want := "--socket " + o.Socket() + " --work-root " + filepath.Join(dir, "work") + " --die-with-parent --no-cgroup\n"
	if !strings.HasPrefix(starts, want) {
		t.Errorf("started with %q, want %q", starts, want)
	}
}

func TestAnAgentIsToldToEndAndWaitedFor(t *testing.T) {
	dir := t.TempDir()
	path := script(t, `trap 'echo stopped > "$2.stopped"; exit 0' TERM; touch "$2.up"; while :; do sleep 0.05; done`) // a read that has just begun may not see a signal
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	o := AgentOptions{Path: path, Dir: dir, Logger: quiet()}
	go func() { ended <- RunAgent(ctx, o) }()
	eventually(t, "it is up", func() bool { _, err := os.Stat(o.Socket() + ".up"); return err == nil })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(o.Socket() + ".stopped"); err != nil {
		t.Errorf("the agent was not told, or not waited for: %v", err)
	}
}

func TestAnAgentThatCannotBeRunEndsItsServer(t *testing.T) {
	listener, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := AgentOptions{Path: filepath.Join(t.TempDir(), "none"), Dir: t.TempDir(), Logger: quiet()}
	s, err := New(Options{Key: "dev", Listener: listener, AgentSocket: o.Socket(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := RunWithAgent(context.Background(), s, o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want os.ErrNotExist", err)
	}
}

func TestAnAgentThatNeverComesUpIsGivenUp(t *testing.T) {
	for name, body := range map[string]string{"it fails": "exit 1", "it just ends": "exit 0"} {
		t.Run(name, func(t *testing.T) {
			o := AgentOptions{Path: script(t, body), Dir: t.TempDir(), Logger: quiet()}
			if err := RunAgent(context.Background(), o); err == nil || !strings.Contains(err.Error(), "exit status") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestADirectoryTooDeepForASocketIsRefusedAtOnce(t *testing.T) {
	o := AgentOptions{Path: "/bin/false", Dir: "/tmp/" + strings.Repeat("x", 100), Logger: quiet()}
	if err := RunAgent(context.Background(), o); err == nil || !strings.Contains(err.Error(), "too long a path for a Unix socket") {
		t.Errorf("error %v", err)
	}
}

func TestAnAgentThatDoesNotAnswerIsKilledAndReplaced(t *testing.T) {
	dir := t.TempDir()
	path := script(t, `trap 'exit 0' TERM; echo $$ >> "$2.starts"; while :; do sleep 0.01; done`)
	hung := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	o := AgentOptions{Path: path, Dir: dir, Logger: quiet(), Hung: hung}
	go func() { ended <- RunAgent(ctx, o) }()
	starts := func() int {
		b, _ := os.ReadFile(o.Socket() + ".starts")
		return strings.Count(string(b), "\n")
	}
	eventually(t, "it is up", func() bool { return starts() == 1 })
	hung <- struct{}{}
	eventually(t, "its successor is up", func() bool { return starts() == 2 })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("error %v", err)
	}
}

func TestFindProgram(t *testing.T) {
	want, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := FindProgram("sh"); err != nil || got != want {
		t.Errorf("FindProgram(sh) = %q, %v; want %q", got, err, want)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := FindProgram(filepath.Base(self)); err != nil || got != self {
		t.Errorf("FindProgram of a program beside this one = %q, %v; want %q", got, err, self)
	}
	if _, err := FindProgram("no-such-program"); err == nil || !strings.Contains(err.Error(), "no-such-program is neither beside") {
		t.Errorf("error %v", err)
	}
}
