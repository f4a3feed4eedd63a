//go:build unix

package reread

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestAPipeIsReadOnce: nobody may ever write into it again.
func TestAPipeIsReadOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	go func() { _ = os.WriteFile(path, []byte("a."), 0o600) }()
	var f Files[string]
	for range 2 {
		if got, err := f.Get(words, path); got != "a." || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, "b.")
	if got, err := f.Get(words, path); got != "b." || err != nil {
		t.Errorf("got %q, %v of the file in its place", got, err)
	}
}
