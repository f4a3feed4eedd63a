package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxCores is how many dumps are kept; the oldest go first.
	maxCores = 4
	// corePrefix begins the name of a dump that is kept; the worker's id follows.
	corePrefix = "rpcpool-core-"
	// coreSlack is by how much a file's time can be behind the clock.
	coreSlack = time.Second
)

// cores keeps core dumps of workers, which would be removed with their work
// directories.
type cores struct {
	dir  string
	proc string     // "/proc" but in tests
	mu   sync.Mutex // one clearing at a time
}

// newCores keeps dumps in dir, or none if that is empty.
func newCores(dir string) *cores { return &cores{dir: dir, proc: "/proc"} }

// keep saves a worker's dump, if it left one (dumped), and returns its path:
// empty if there is none, or if it is not known where the kernel has put it. A
// dump in the work directory is moved to where dumps are kept; one elsewhere
// stays there.
func (k *cores) keep(worker string, c *child, dumped bool) (path string, err error) {
	if !dumped {
		return "", nil
	}
	pattern, err := os.ReadFile(filepath.Join(k.proc, "sys/kernel/core_pattern"))
	if err != nil {
		return "", fmt.Errorf("find core dump: %w", err)
	}
	globs, absolute := corePattern(pattern).names(c.pid)
	switch {
	case absolute:
		return newestFile(globs, c.begun), nil
	case len(globs) == 0 || k.dir == "":
		return "", nil
	}
	if path, err = k.save(worker, c.dir, globs); err != nil {
		return path, fmt.Errorf("keep core dump: %w", err)
	}
	return path, nil
}

// newestFile returns the newest of the files that globs stand for and that are
// not older than since; empty if there is none.
func newestFile(globs []string, since time.Time) (path string) {
	newest := since.Add(-coreSlack)
	for _, g := range globs {
		names, _ := filepath.Glob(g)
		for _, name := range names {
			info, err := os.Lstat(name) //nolint:gosec // as the machine's administrator set it
			if err == nil && info.Mode().IsRegular() && info.ModTime().After(newest) {
				path, newest = name, info.ModTime()
			}
		}
	}
	return path
}

// save moves the newest dump in a work directory to where dumps are kept.
func (k *cores) save(worker string, from *workDir, globs []string) (path string, err error) {
	fd, err := from.open()
	if err != nil {
		return "", err
	}
	dir := os.NewFile(uintptr(fd), from.path)
	defer dir.Close() //nolint:errcheck // opened for reading
	name := newestDump(dir, globs)
	if name == "" {
		return "", nil
	}
	if err := os.MkdirAll(k.dir, parentMode); err != nil {
		return "", err //nolint:wrapcheck // by the caller, as below
	}
	file, err := os.CreateTemp(k.dir, corePrefix+worker+".*")
	if err != nil {
		return "", err //nolint:wrapcheck // by the caller
	}
	path = file.Name()
	err = unix.Renameat(fd, name, unix.AT_FDCWD, path)
	if errors.Is(err, unix.EXDEV) {
		err = copyDump(file, fd, name)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, k.clear()
}

// newestDump names the newest file in dir that globs stand for. The program that
// died may have put anything there under such a name, a link for one.
func newestDump(dir *os.File, globs []string) (name string) {
	const batch = 512
	var newest unix.Timespec
	for {
		names, _ := dir.Readdirnames(batch)
		if len(names) == 0 {
			return name
		}
		for _, n := range names {
			var s unix.Stat_t
			if !matches(globs, n) || unix.Fstatat(int(dir.Fd()), n, &s, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			if s.Mode&unix.S_IFMT == unix.S_IFREG && (name == "" || s.Mtim.Nano() > newest.Nano()) {
				name, newest = n, s.Mtim
			}
		}
	}
}

// clear removes all dumps but the newest.
func (k *cores) clear() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return err //nolint:wrapcheck // by the caller
	}
	var kept []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && strings.HasPrefix(e.Name(), corePrefix) {
			kept = append(kept, info)
		}
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var errs []error
	for _, old := range kept[min(maxCores, len(kept)):] {
		if err := os.Remove(filepath.Join(k.dir, old.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
