package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestADataDirectoryHasOneOwnerAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, leave, err := dataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := dataDir(dir); err == nil || !strings.Contains(err.Error(), dir+" is in use by another server") {
		t.Errorf("a second owner: error %v", err)
	}
	if err := leave(); err != nil {
		t.Fatal(err)
	}
	_, leave, err = dataDir(dir)
	if err != nil {
		t.Fatalf("after the first has left: %v", err)
	}
	if err := leave(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a directory that was named is not ours to remove: %v", err)
	}
}

func TestATemporaryDataDirectoryIsPrivateAndRemoved(t *testing.T) {
	dir, leave, err := dataDir("")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if err := leave(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
}

// TestServeRefusesWrongBounds: one line that names the flag, status 2, before
// anything is started.
func TestServeRefusesWrongBounds(t *testing.T) {
	for flag, want := range map[string]string{
		"--isolation=jail":     `rpcpool: --isolation: "jail": want fork or watchdog`,
		"--heartbeat=1ms":      "rpcpool: --heartbeat: 1ms: want 0 (none) or at least 100ms",
		"--budget-run=-1s":     "rpcpool: --budget-run: -1s is negative (see 'rpcpool serve --help')",
		"--kill-dump=film":     `rpcpool: --kill-dump: "film": want none, quit or abort`,
		"--limit-cpu=many":     `rpcpool: --limit-cpu: "many": want cores such as 0.5, 500m or 2, at most 100000`,
		"--limit-memory=lots":  `rpcpool: --limit-memory: "lots": want bytes, or a whole number of Ki, Mi or Gi, such as 512Mi`,
		"--limit-processes=-1": "rpcpool: --limit-processes: -1 is not between 0 and 4194304",
	} {
		status, stdout, stderr := execute(t, "serve", "--key", "k", flag, "--", "sh")
		if status != exitUsage || stdout != "" || stderr != want+"\n" {
			t.Errorf("%s: status %d, stdout %q, stderr %q; want %q", flag, status, stdout, stderr, want)
		}
	}
}
