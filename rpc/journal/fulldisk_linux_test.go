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
func TestFullDisk(t *testing.T) { inMounts(t, "full-disk") }

// TestReadOnlyDisk: a journal on a file system that is read-only is not opened, with the
// error of the kernel, and stays as it was.
func TestReadOnlyDisk(t *testing.T) { inMounts(t, "read-only") }

// inMounts runs a child that has mounts of its own.
func inMounts(t *testing.T, what string) {
	cmd := childIn(t, t.TempDir(), what)
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

// mountDisk makes a directory a file system of that size, of this process alone.
func mountDisk(dir, size string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
}

// useReadOnlyDisk is the child.
func useReadOnlyDisk(dir string) {
	dir = filepath.Join(dir, "disk")
	path := filepath.Join(dir, "journal")
	fmt.Println(func() error {
		if err := mountDisk(dir, "4m"); err != nil {
			return err
		}
		j, err := Open(path, Options{Size: minSize})
		if err != nil {
			return err
		}
		id := j.ID()
		if _, err := j.Append([]byte("kept")); err != nil {
			return err
		}
		if err := j.Close(); err != nil {
			return err
		}
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			return err
		}
		for _, name := range []string{path, path + "2"} {
			if _, err := Open(name, Options{Size: minSize}); !errors.Is(err, syscall.EROFS) {
				return fmt.Errorf("opened %s: %w", name, err)
			}
			if _, lost, err := OpenAnyway(name, Options{Size: minSize}); lost != nil || !errors.Is(err, syscall.EROFS) {
				return fmt.Errorf("opened %s anyway, lost %w: %w", name, lost, err)
			}
		}
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""); err != nil {
			return err
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			return fmt.Errorf("left %v, %w", left, err)
		}
		if j, err = Open(path, Options{}); err != nil {
			return err
		}
		if list, err := contents(j); err != nil || len(list) != 1 || string(list[0]) != "kept" || j.ID() != id {
			return fmt.Errorf("it has %q: %w", list, err)
		}
		return j.Close()
	}())
}

// useFullDisk is the child.
func useFullDisk(dir string) {
	dir = filepath.Join(dir, "disk")
	path := filepath.Join(dir, "journal")
	fmt.Println(func() error {
		if err := mountDisk(dir, "400k"); err != nil {
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
