package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Modes of the directories that the agent makes.
const (
	rootMode   = 0o755
	parentMode = 0o700 // of a missing directory above the work root
	workMode   = 0o700
)

// workRoot is the directory of work directories, held by a lock. A cleaner of
// temporary files or a program under test may remove, rename or replace it at
// any time, so every start looks, and makes it anew if need be.
type workRoot struct {
	path string // absolute
	log  *slog.Logger

	mu      sync.Mutex
	current *rootDir
	held    []*rootDir // current, and earlier ones in which work directories are left
}

// rootDir is a directory that is the work root, or was when a worker started.
type rootDir struct {
	file *os.File // locked
	info os.FileInfo
	used int // work directories in it
}

// workDir is one worker's directory. It is removed where it was made, wherever
// that has been moved to since.
type workDir struct {
	path string
	name string
	in   *rootDir
	root *workRoot
}

// openWorkRoot makes the work root if need be and takes its lock, which the
// kernel releases when the agent dies.
func openWorkRoot(path string, log *slog.Logger) (*workRoot, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("work root: %w", err)
	}
	dir, err := openRootDir(abs)
	if err != nil {
		return nil, err
	}
	return &workRoot{path: abs, log: log, current: dir, held: []*rootDir{dir}}, nil
}

func openRootDir(path string) (*rootDir, error) {
	err := os.MkdirAll(filepath.Dir(path), parentMode) //nolint:gosec // the path is the operator's
	if err == nil {
		err = os.MkdirAll(path, rootMode) //nolint:gosec // as above
	}
	if err != nil {
		return nil, fmt.Errorf("work root %s: %w", path, err)
	}
	file, err := os.Open(path)                                               //nolint:gosec // as above
	if errors.Is(err, os.ErrPermission) && os.Chmod(path, rootMode) == nil { //nolint:gosec // the path is the operator's
		file, err = os.Open(path) //nolint:gosec // as above; somebody took our own access away
	}
	if err != nil {
		return nil, fmt.Errorf("work root %s: %w", path, err)
	}
	info, err := file.Stat()
	if err == nil {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrWorkRootInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return &rootDir{file: file, info: info}, nil
}

func (r *workRoot) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.held {
		_ = d.file.Close()
	}
	r.held = nil
}

// make makes a worker's directory, empty. What stands there under its name is
// a leftover by definition, and is removed.
func (r *workRoot) make(worker string) (*workDir, error) {
	in, err := r.take()
	if err != nil {
		return nil, err
	}
	d := &workDir{name: WorkDirPrefix + worker, in: in, root: r}
	d.path = filepath.Join(r.path, d.name)
	err = in.do(func(fd int) error {
		err := unix.Mkdirat(fd, d.name, workMode)
		if errors.Is(err, unix.EEXIST) {
			if err = removeTree(fd, d.name); err == nil {
				err = unix.Mkdirat(fd, d.name, workMode)
			}
		}
		return err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		r.release(in)
		return nil, fmt.Errorf("work directory %s: %w", d.path, err)
	}
	return d, nil
}

// remove removes the directory with all that is in it. It is called once.
func (d *workDir) remove() error {
	defer d.root.release(d.in)
	return d.in.do(func(fd int) error { return removeTree(fd, d.name) })
}

// take returns the directory that the work root is now, in use once more.
func (r *workRoot) take() (*rootDir, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.renew(); err != nil {
		return nil, err
	}
	r.current.used++
	return r.current, nil
}

func (r *workRoot) release(d *rootDir) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d.used--
	r.drop(d)
}

// drop lets go of a directory that is of no use any more.
func (r *workRoot) drop(d *rootDir) {
	if i := slices.Index(r.held, d); i >= 0 && d != r.current && d.used == 0 {
		_ = d.file.Close()
		r.held = slices.Delete(r.held, i, i+1)
	}
}

// renew sees to it that current is what stands at the work root's path. As it
// is open, no other directory can have its inode.
func (r *workRoot) renew() error {
	if info, err := os.Stat(r.path); err == nil { //nolint:gosec // the path is the operator's
		known := slices.IndexFunc(r.held, func(d *rootDir) bool { return os.SameFile(info, d.info) })
		if known >= 0 {
			r.become(r.held[known])
			return nil
		}
	}
	next, err := openRootDir(r.path)
	if err != nil {
		return err
	}
	r.held = append(r.held, next)
	r.become(next)
	// The lock says that what is in it is nobody's.
	removed, err := r.wipe()
	r.log.Warn("work root was removed or replaced; it is made anew", "workRoot", r.path, "leftovers", len(removed))
	if err != nil {
		r.log.Error("leftovers stay in the work root", "error", err)
	}
	return nil
}

func (r *workRoot) become(d *rootDir) {
	old := r.current
	r.current = d
	r.drop(old)
}

// wipe removes every work directory that is there and returns their names.
func (r *workRoot) wipe() (removed []string, err error) {
	entries, err := os.ReadDir(r.path)
	if err != nil {
		return nil, fmt.Errorf("work root: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), WorkDirPrefix) {
			continue
		}
		if err := removeTree(int(r.current.file.Fd()), e.Name()); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, e.Name())
	}
	return removed, errors.Join(errs...)
}

// do runs f, and again if the directory's mode was in the way: a program under
// test with the agent's user may take it away, and must not take the device
// with it.
func (d *rootDir) do(f func(fd int) error) error {
	fd := int(d.file.Fd())
	err := f(fd)
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	if e := d.file.Chmod(d.info.Mode().Perm() | workMode); e != nil {
		return errors.Join(err, e)
	}
	return f(fd)
}
