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
