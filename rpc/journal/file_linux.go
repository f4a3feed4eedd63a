package journal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// file is a journal's file: open, locked, all its blocks allocated, and mapped.
type file struct {
	*os.File
	image []byte
}

// errMoved says that the file that was opened does not have its name any more.
var errMoved = errors.New("its file comes and goes")

// openFile opens the file of a journal, or makes it, with a ring of the given size.
func openFile(path string, size int64) (*file, error) {
	var err error
	for range 10 { // each time, somebody else has made it or taken it away
		var f *file
		if f, err = existing(path); errors.Is(err, fs.ErrNotExist) {
			f, err = create(path, size)
		}
		if !errors.Is(err, errMoved) {
			return f, err
		}
	}
	return nil, err
}

// existing opens a file that is there.
func existing(path string) (*file, error) {
	f, err := lock(path, 0)
	if err != nil {
		return nil, err
	}
	m, err := accept(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

// accept maps a file if it is a journal, by its first page and its length.
func accept(f *os.File) (*file, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	header := make([]byte, headerSize)
	if n, err := f.ReadAt(header, 0); n < headerSize {
		return nil, fmt.Errorf("%w: %d bytes: %w", ErrForeign, n, err)
	}
	if _, err := parseSuper(header, info.Size()); err != nil {
		return nil, err
	}
	if err := allocate(f, info.Size()); err != nil && !unsupported(err) {
		return nil, err
	}
	return mapped(f, info.Size())
}

// create makes a file under another name, which is locked, and renames it when it
// is complete: so one that was cut short is never taken for a journal.
func create(path string, size int64) (*file, error) {
	draft := path + ".new"
	f, err := lock(draft, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	m, err := fill(f, headerSize+size)
	if err != nil {
		return nil, errors.Join(err, os.Remove(draft), f.Close())
	}
	// Whoever makes the file has the draft's lock, so it cannot come to be now.
	if _, err = os.Lstat(path); err == nil {
		err = errMoved
	} else if errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(draft, path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(draft), m.close())
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// fill makes a file an empty journal.
func fill(f *os.File, length int64) (*file, error) {
	if err := f.Truncate(0); err != nil { // what was left of the last try
		return nil, err
	}
	err := allocate(f, length)
	if unsupported(err) {
		err = zeros(f, length)
	}
	if err != nil {
		return nil, err
	}
	var random [20]byte
	_, _ = rand.Read(random[:]) // never fails
	header := format(super{
		size: uint64(length - headerSize), seed: le.Uint32(random[16:]), id: [16]byte(random[:16]),
	})
	if _, err := f.WriteAt(header, 0); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return mapped(f, length)
}

// lock opens a file, which must be a regular one that others have no access to,
// and locks it. The lock ends with the file's last descriptor.
func lock(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := own(f, path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func own(f *os.File, path string) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: it is no regular file (%v)", ErrForeign, info.Mode())
	case info.Mode().Perm()&0o007 != 0:
		return fmt.Errorf("others have access to it (%v): it holds secrets", info.Mode())
	}
	if err := again(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return ErrLocked
		}
		return fmt.Errorf("lock: %w", err)
	}
	now, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || !os.SameFile(info, now) {
		return errMoved
	}
	return nil
}

// allocate gives all of the file blocks on the disk. Without one, a store to the
// mapping would end in SIGBUS when the disk is full.
func allocate(f *os.File, length int64) error {
	err := again(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, length) })
	if err != nil {
		return fmt.Errorf("allocate %d bytes: %w", length, err)
	}
	return nil
}

func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}

// zeros does what allocate does, for file systems that cannot.
func zeros(f *os.File, length int64) error {
	block := make([]byte, 1<<20)
	for at := int64(0); at < length; {
		n, err := f.WriteAt(block[:min(length-at, int64(len(block)))], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

func mapped(f *os.File, length int64) (*file, error) {
	image, err := unix.Mmap(int(f.Fd()), 0, int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return &file{f, image}, nil
}

// has tells whether an address is in the mapping.
func (f *file) has(address uintptr) bool {
	first := uintptr(unsafe.Pointer(unsafe.SliceData(f.image))) //nolint:gosec // compared, never followed
	return address >= first && address-first < uintptr(len(f.image))
}

// sync returns when the disk has what is in the mapping.
func (f *file) sync() error { return again(func() error { return unix.Fdatasync(int(f.Fd())) }) }

func (f *file) close() error { return errors.Join(unix.Munmap(f.image), f.Close()) }

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// again repeats a call that a signal has interrupted.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// bootID is what the kernel calls its present run.
func bootID() BootID {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return BootID{}
	}
	id, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(id) != len(BootID{}) {
		return BootID{}
	}
	return BootID(id)
}

// SetAside gives a file that Open refuses another name, which it returns, so that
// the next Open makes a new journal. What was set aside before is overwritten. A
// journal that is open stays: ErrLocked.
func SetAside(path string) (string, error) {
	f, err := lock(path, 0)
	if err != nil {
		return "", fmt.Errorf("journal %s: %w", path, err)
	}
	aside := path + ".aside"
	err = os.Rename(path, aside)
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("journal %s: set aside: %w", path, err)
	}
	return aside, nil
}
