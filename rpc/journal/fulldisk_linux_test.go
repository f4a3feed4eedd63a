package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk: a journal that was opened does not need the disk to have room, and
// one for which there is no room is not opened. The disk is a file system of 400 kB,
// mounted in a child that has mounts of its own.
func TestFullDisk(t *testing.T) {
	cmd := childIn(t, t.TempDir(), "full-disk")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("no mounts are allowed here")
	}
	if text := strings.TrimSpace(string(out)); err != nil || text != "<nil>" {
		t.Fatal(text, err)
	}
}

// useFullDisk is the child.
func useFullDisk(dir string) {
	dir = filepath.Join(dir, "disk")
	path := filepath.Join(dir, "journal")
	fmt.Println(func() error {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=400k"); err != nil {
			return err
		}
		if _, err := Open(path, Options{Size: 1 << 20}); !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("no room: %w", err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			return fmt.Errorf("left %v, %w", left, err)
		}
		j, err := Open(path, Options{Size: minSize})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "rest"), make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("the disk is not full: %w", err)
		}
		for i := range uint64(5000) {
			if _, err := j.Append(payload(i, 100)); errors.Is(err, ErrFull) {
				err = j.Compact(slices.Values([][]byte{payload(i, 100)}))
				if err != nil {
					return err
				}
			} else if err != nil {
				return err
			}
		}
		if err := j.Close(); err != nil {
			return err
		}
		if _, err := Open(path+"2", Options{Size: minSize}); !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("no room: %w", err)
		}
		if _, err := os.Stat(path + "2"); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		j, err = Open(path, Options{})
		if err != nil {
			return err
		}
		list, err := contents(j)
		if err != nil {
			return err
		}
		if n, err := intact(list[len(list)-1]); err != nil || n != 4999 {
			return fmt.Errorf("the last one is %d: %w", n, err)
		}
		return j.Close()
	}())
}
