package deviceplugin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// null is the number of /dev/null.
func null() uint64 {
	const major, minor = 1, 3
	return unix.Mkdev(major, minor)
}

// MakeNodes makes the character devices of devices in a node's /dev, which is at
// dev here, if they are not there. They are stand-ins: each is /dev/null.
func MakeNodes(dev string, devices []Device) error {
	for _, d := range devices {
		for _, path := range d.Nodes() {
			path = filepath.Join(dev, strings.TrimPrefix(path, "/dev/"))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return fmt.Errorf("device nodes: %w", err)
			}
			err := unix.Mknod(path, unix.S_IFCHR|0o666, int(null()))
			if errors.Is(err, unix.EEXIST) {
				continue
			}
			if err != nil {
				return fmt.Errorf("make device node %s: %w", path, err)
			}
			if err := os.Chmod(path, 0o666); err != nil { // the umask had its say
				return fmt.Errorf("device nodes: %w", err)
			}
		}
	}
	return nil
}

// RemoveNodes removes the stand-ins of [MakeNodes], and their directory if nothing else
// is in it. It returns what it has removed.
func RemoveNodes(dev string) (removed []string, err error) {
	dir := filepath.Join(dev, "infiniband")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("device nodes: %w", err)
	}
	left := len(entries)
	remove := func(path string) {
		if e := os.Remove(path); e != nil {
			err = errors.Join(err, fmt.Errorf("device nodes: %w", e))
			return
		}
		removed = append(removed, path)
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		var stat unix.Stat_t
		if unix.Lstat(path, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFCHR && stat.Rdev == null() {
			remove(path)
			left--
		}
	}
	if left == 0 {
		remove(dir)
	}
	return removed, err
}
