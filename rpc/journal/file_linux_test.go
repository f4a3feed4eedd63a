package journal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestNobodyElseReadsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	mustOpen(t, path, Options{})
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
}

// TestBlocksAreAllocated: a store to the mapping never needs a block that the
// disk might not have, also in a file that was copied without its zeros.
func TestBlocksAreAllocated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	mustClose(t, mustOpen(t, path, Options{Size: 1 << 20}))
	blocks := func() int64 {
		var s syscall.Stat_t
		if err := syscall.Stat(path, &s); err != nil {
			t.Fatal(err)
		}
		return s.Blocks * 512
	}
	if n := blocks(); n < 1<<20 {
		t.Fatalf("%d bytes have blocks", n)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Truncate(path, 0), os.WriteFile(path, image[:headerSize], 0o600), os.Truncate(path, int64(len(image)))); err != nil {
		t.Fatal(err)
	}
	if n := blocks(); n > 1<<16 {
		t.Fatalf("%d bytes have blocks, of a file with holes", n)
	}
	mustOpen(t, path, Options{})
	if n := blocks(); n < 1<<20 {
		t.Fatalf("%d bytes have blocks after it was opened", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	cases := []struct {
		name string
		do   func(path string) error
		opt  Options
		want error
		text string
	}{
		{"a ring that is too small", nil, Options{Size: minSize - headerSize}, nil, "must be from 16384"},
		{"a ring that is too large", nil, Options{Size: maxSize + 1}, nil, "must be from 16384"},
		{"a policy that there is not", nil, Options{Policy: 7}, nil, "there is no policy 7"},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, Options{}, nil, "is a directory"},
		{"a pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }, Options{}, ErrForeign, "no regular file"},
		{"a link", func(path string) error { return os.Symlink("elsewhere", path) }, Options{}, syscall.ELOOP, ""},
		{"a directory that is not there", func(path string) error { return os.Remove(filepath.Dir(path)) }, Options{}, fs.ErrNotExist, ""},
		{"an empty file", func(path string) error { return os.WriteFile(path, nil, 0o600) }, Options{}, ErrForeign, "0 bytes"},
		{"another file", func(path string) error { return os.WriteFile(path, make([]byte, 8192), 0o600) }, Options{}, ErrForeign, ""},
		{"a file that was cut", func(path string) error { return os.Truncate(path, minSize) }, Options{}, ErrCorrupt, "16384 bytes, not 20480"},
		{"a file that all may read", func(path string) error { return os.Chmod(path, 0o604) }, Options{}, nil, "others have access to it"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dir")
			path := filepath.Join(dir, "journal")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(c.name, "a file that") {
				mustClose(t, mustOpen(t, path, Options{}))
			}
			if c.do != nil {
				if err := c.do(path); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Open(path, c.opt)
			if err == nil || !strings.Contains(err.Error(), c.text) || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v with %q", err, c.want, c.text)
			}
			if !strings.HasPrefix(err.Error(), "journal "+path+": ") {
				t.Errorf("%v does not name the file", err)
			}
			if _, err := os.Lstat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left behind: %v", err)
			}
		})
	}
}

// TestOneOwner: of several that open a journal at once, one gets it, whether it is
// there already or not.
func TestOneOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	for range 20 {
		var opened []*Journal
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				j, err := Open(path, Options{Size: minSize})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					opened = append(opened, j)
				case !errors.Is(err, ErrLocked):
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(opened) != 1 {
			t.Fatalf("%d have it", len(opened))
		}
		if _, err := SetAside(path); !errors.Is(err, ErrLocked) {
			t.Fatalf("set aside although it is open: %v", err)
		}
		mustClose(t, opened[0])
		if opened[0].Life()%2 == 0 {
			if _, err := SetAside(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestWhatACrashedMakerLeft: a draft that never got its name is made again.
func TestWhatACrashedMakerLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(path+".new", bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, path, Options{}))
	j := mustOpen(t, path, Options{})
	mustAppend(t, j, "one")
	if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) || text(t, j) != "one" {
		t.Fatal(err, text(t, j))
	}
}

// TestNameThatMovedOn: a file that was locked when its name was another's already, or
// nobody's, is not taken for the journal.
func TestNameThatMovedOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := own(f, path); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".aside"); err != nil {
		t.Fatal(err)
	}
	if err := own(f, path); !errors.Is(err, errMoved) {
		t.Fatalf("nobody's: %v", err)
	}
	mustOpen(t, path, Options{})
	if err := own(f, path); !errors.Is(err, errMoved) {
		t.Fatalf("another's: %v", err)
	}
}

func TestSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := mustOpen(t, path, Options{})
	id := j.ID()
	mustAppend(t, j, "one")
	mustClose(t, j)
	aside, err := SetAside(path)
	if err != nil || aside != path+".aside" {
		t.Fatal(aside, err)
	}
	j = mustOpen(t, path, Options{})
	if j.ID() == id || j.Life() != 1 || text(t, j) != "" {
		t.Fatalf("identity %x, life %d, %q", j.ID(), j.Life(), text(t, j))
	}
	if j = mustOpen(t, aside, Options{}); j.ID() != id || text(t, j) != "one" {
		t.Fatalf("set aside: identity %x, %q", j.ID(), text(t, j))
	}
	if _, err := SetAside(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// TestFileCutWhileItIsOpen: what would kill the process is an error, and stays one.
func TestFileCutWhileItIsOpen(t *testing.T) {
	for _, length := range []int64{0, headerSize} {
		path := filepath.Join(t.TempDir(), "journal")
		j := mustOpen(t, path, Options{})
		mustAppend(t, j, "one")
		if err := os.Truncate(path, length); err != nil {
			t.Fatal(err)
		}
		if _, err := contents(j); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "its file was cut") {
			t.Fatalf("read: %v", err)
		}
		if err := os.Truncate(path, headerSize+minSize); err != nil { // too late
			t.Fatal(err)
		}
		if _, err := j.Append(nil); !errors.Is(err, ErrBroken) {
			t.Fatalf("append: %v", err)
		}
		if err := j.Compact(slices.Values([][]byte{nil})); !errors.Is(err, ErrBroken) {
			t.Fatalf("compact: %v", err)
		}
		if n := j.Room(); n != 0 {
			t.Fatalf("room for %d", n)
		}
		if err := j.Close(); !errors.Is(err, ErrBroken) {
			t.Fatalf("close: %v", err)
		}
		if _, err := Open(path, Options{}); !refused(err) {
			t.Fatalf("open: %v", err)
		}
	}
	for name, use := range map[string]func(j *Journal) error{
		"append":  func(j *Journal) error { _, err := j.Append(make([]byte, 2000)); return err },
		"compact": func(j *Journal) error { return j.Compact(slices.Values([][]byte{nil})) },
		"close":   (*Journal).Close,
	} {
		path := filepath.Join(t.TempDir(), "journal")
		j := mustOpen(t, path, Options{})
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		if err := use(j); !errors.Is(err, ErrBroken) {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func TestOpenAnywayGoesOnWithoutWhatCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	open := func() (*Journal, error) {
		t.Helper()
		j, lost, err := OpenAnyway(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return j, lost
	}
	j, lost := open()
	id := j.ID()
	if lost != nil {
		t.Fatalf("a new one: lost %v", lost)
	}
	mustAppend(t, j, "one")
	if _, _, err := OpenAnyway(path, Options{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("one that is in use: %v", err)
	}
	mustClose(t, j)
	if j, lost = open(); lost != nil || j.ID() != id || text(t, j) != "one" {
		t.Fatalf("a whole one: lost %v, identity %x, %q", lost, j.ID(), text(t, j))
	}
	mustClose(t, j)
	if err := os.Truncate(path, headerSize); err != nil {
		t.Fatal(err)
	}
	if j, lost = open(); !errors.Is(lost, ErrCorrupt) || !strings.Contains(lost.Error(), path+".aside") || j.ID() == id {
		t.Fatalf("a damaged one: lost %v, identity %x", lost, j.ID())
	}
	mustClose(t, j)
}
