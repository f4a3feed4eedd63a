package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// anyUser is one that no image knows.
const anyUser = 12345

// asAnyUser makes cmd run as [anyUser] where that can be, and otherwise as the
// user of the tests, who must not be root either.
func asAnyUser(cmd *exec.Cmd) *exec.Cmd {
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: anyUser}}
	}
	cmd.Dir = "/"
	return cmd
}

// shipped is a directory with the agent as it is shipped and a sibling, where
// every user may look.
func shipped(t *testing.T) (agent, sibling string) {
	t.Helper()
	agent = build(t)
	sibling = filepath.Join(filepath.Dir(agent), "rpcpool-worker")
	err := os.WriteFile(sibling, []byte("#!/bin/sh\n"), 0o600)
	for dir := filepath.Dir(agent); err == nil && dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		err = os.Chmod(dir, 0o755)
	}
	if err = errors.Join(err, os.Chmod(sibling, 0o644)); err != nil {
		t.Fatal(err)
	}
	return agent, sibling
}

func wantSame(t *testing.T, path, original string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != programMode || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes of mode %v; want %d of %o", path, len(got), info.Mode(), len(want), programMode)
	}
}

// What the init container of a device pod does, as any user, into a volume that
// it may write to; and does again when the node has restarted, while the last
// copy may still run.
func TestInstallCopiesTheAgentAndItsSiblings(t *testing.T) {
	agent, sibling := shipped(t)
	volume := filepath.Join(filepath.Dir(agent), "volume")
	if err := errors.Join(os.Mkdir(volume, 0o700), os.Chmod(volume, 0o777)); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(volume, "bin")
	for range 2 {
		cmd := asAnyUser(exec.Command(agent, "install", target, "rpcpool-worker"))
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v: %q", err, out)
		}
		wantSame(t, filepath.Join(target, "rpcpool-agent"), agent)
		wantSame(t, filepath.Join(target, "rpcpool-worker"), sibling)
		if entries, err := os.ReadDir(target); err != nil || len(entries) != 2 {
			t.Errorf("%d entries, %v; want 2", len(entries), err)
		}
		// One that was cut short, and somebody else's at that.
		if err := os.Symlink(sibling, filepath.Join(target, ".rpcpool-agent.new")); err != nil {
			t.Fatal(err)
		}
		running := exec.Command(filepath.Join(target, "rpcpool-agent"), "--socket", filepath.Join(t.TempDir(), "s"), "--work-root", t.TempDir())
		if err := running.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = running.Process.Kill()
			_ = running.Wait()
		}()
	}
	out, err := exec.Command(filepath.Join(target, "rpcpool-agent"), "--version").CombinedOutput()
	if err != nil {
		t.Errorf("the copy does not run: %v: %s", err, out)
	}
}

func TestInstallSaysWhatIsWrong(t *testing.T) {
	agent, _ := shipped(t)
	closed, open := filepath.Join(filepath.Dir(agent), "closed"), filepath.Join(filepath.Dir(agent), "open")
	if err := errors.Join(os.Mkdir(closed, 0o555), os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"no directory":                      {nil, exitUsage, "install: want a directory"},
		"a path for a name":                 {[]string{closed, "../x"}, exitUsage, `install: "../x" is not the name of a program`},
		"an empty name":                     {[]string{closed, ""}, exitUsage, `install: "" is not the name of a program`},
		"a directory that it may not use":   {[]string{closed}, exitFailed, "permission denied"},
		"one that it cannot make":           {[]string{filepath.Join(agent, "x")}, exitFailed, "not a directory"},
		"a program that is not there":       {[]string{open, "nothing"}, exitFailed, "nothing: no such file or directory"},
		"a directory that it may not reach": {[]string{filepath.Join(closed, "x")}, exitFailed, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			cmd := asAnyUser(exec.Command(agent, append([]string{"install"}, tc.args...)...))
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run()
			text := stderr.String()
			if cmd.ProcessState.ExitCode() != tc.status || !strings.Contains(text, tc.want) || strings.Count(text, "\n") != 1 || stdout.Len() > 0 {
				t.Errorf("%v, %q; want status %d and one line with %q", cmd.ProcessState, text, tc.status, tc.want)
			}
		})
	}
}

// A copy that fails in the middle leaves what was there, and nothing of itself.
func TestACopyThatFailsLeavesNothing(t *testing.T) {
	source, target := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(source, "p"), 0o755); err != nil { // can be opened, not read
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(target, "p"), []byte("old"), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(target)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = installProgram(filepath.Join(source, "p"), root)
	if err == nil || !strings.Contains(err.Error(), "copy p to "+target) {
		t.Errorf("error %v", err)
	}
	entries, _ := os.ReadDir(target)
	if b, err := os.ReadFile(filepath.Join(target, "p")); err != nil || string(b) != "old" || len(entries) != 1 {
		t.Errorf("%q, %v, %d entries", b, err, len(entries))
	}
}
