package journal

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func mustOpen(t testing.TB, path string, opt Options) *Journal {
	t.Helper()
	if opt.Size == 0 {
		opt.Size = minSize
	}
	j, err := Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func mustAppend(t testing.TB, j *Journal, record string) uint64 {
	t.Helper()
	end, err := j.Append([]byte(record))
	if err != nil {
		t.Fatal(err)
	}
	return end
}

func mustClose(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func text(t testing.TB, j *Journal) string {
	t.Helper()
	all, err := contents(j)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, b := range all {
		words = append(words, string(b))
	}
	return strings.Join(words, " ")
}

func TestAJournalIsFoundAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := mustOpen(t, path, Options{})
	id := j.ID()
	if id == ([16]byte{}) || j.Life() != 1 {
		t.Fatalf("identity %x, life %d", id, j.Life())
	}
	mustAppend(t, j, "one")
	mustAppend(t, j, "two")
	mustClose(t, j)
	if err := j.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	j = mustOpen(t, path, Options{Size: 1 << 20})
	if text(t, j) != "one two" || j.ID() != id || j.Life() != 2 || j.Stats().Limit != minSize/2 {
		t.Fatalf("%q, identity %x, life %d, %+v", text(t, j), j.ID(), j.Life(), j.Stats())
	}
	for b := range j.Records() {
		if string(b) != "one" {
			t.Fatalf("%q", b)
		}
		break
	}
}

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
		{"a ring that is too small", nil, Options{Size: minSize - headerSize}, nil, "must be from 65536"},
		{"a ring that is too large", nil, Options{Size: maxSize + 1}, nil, "must be from 65536"},
		{"a policy that there is not", nil, Options{Policy: 7}, nil, "there is no policy 7"},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, Options{}, nil, "is a directory"},
		{"a pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }, Options{}, ErrForeign, "no regular file"},
		{"a link", func(path string) error { return os.Symlink("elsewhere", path) }, Options{}, syscall.ELOOP, ""},
		{"a directory that is not there", func(path string) error { return os.Remove(filepath.Dir(path)) }, Options{}, fs.ErrNotExist, ""},
		{"an empty file", func(path string) error { return os.WriteFile(path, nil, 0o600) }, Options{}, ErrForeign, "0 bytes"},
		{"another file", func(path string) error { return os.WriteFile(path, make([]byte, 8192), 0o600) }, Options{}, ErrForeign, ""},
		{"a file that was cut", func(path string) error { return os.Truncate(path, 65536) }, Options{}, ErrCorrupt, "65536 bytes, not 69632"},
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
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := mustOpen(t, path, Options{})
	mustAppend(t, j, "one")
	if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) || text(t, j) != "one" {
		t.Fatal(err, text(t, j))
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

// TestFullIsNotBroken: a journal that is full says so as often as it is asked, and
// goes on when it has been compacted.
func TestFullIsNotBroken(t *testing.T) {
	j := mustOpen(t, filepath.Join(t.TempDir(), "journal"), Options{})
	n := 0
	for ; ; n++ {
		if _, err := j.Append(payload(uint64(n), 100)); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if n != minSize/2/int(space(104)) || j.Stats().Full != 1 {
		t.Fatalf("%d records, %+v", n, j.Stats())
	}
	all, err := contents(j)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Compact(slices.Values(append(all, make([]byte, 1000)))); !errors.Is(err, ErrFull) {
		t.Fatalf("compacted to more than there is room for: %v", err)
	}
	if err := j.Compact(slices.Values([][]byte{make([]byte, minSize)})); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("compacted to what is too large: %v", err)
	}
	if err := j.Compact(slices.Values(all)); err != nil {
		t.Fatalf("compacted to all that there was: %v", err)
	}
	if _, err := j.Append(make([]byte, 100)); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if err := j.Compact(slices.Values(all[1:])); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, "goes on")
	if got, err := contents(j); err != nil || len(got) != n || string(got[n-1]) != "goes on" {
		t.Fatal(len(got), err)
	}
}

// TestRecordsOfAListThatIsGone: a reader is told when it is compacted away.
func TestRecordsOfAListThatIsGone(t *testing.T) {
	j := mustOpen(t, filepath.Join(t.TempDir(), "journal"), Options{})
	mustAppend(t, j, "one")
	mustAppend(t, j, "two")
	var got []string
	for b, err := range j.Records() {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		got = append(got, string(b))
		if err := j.Compact(slices.Values([][]byte{[]byte("three")})); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 2 || got[0] != "one" || !strings.Contains(got[1], "compacted while it was read") {
		t.Fatalf("%q", got)
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
		"append":  func(j *Journal) error { _, err := j.Append(make([]byte, 7000)); return err },
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

// TestPanicsOfOthers: a fault that is not the journal's, or a panic of whoever gives it
// records, is not hidden, and leaves it as it was.
func TestPanicsOfOthers(t *testing.T) {
	j := mustOpen(t, filepath.Join(t.TempDir(), "journal"), Options{})
	mustAppend(t, j, "one")
	func() {
		defer func() {
			if r := recover(); r != "oops" {
				t.Fatal(r)
			}
		}()
		_ = j.Compact(func(yield func([]byte) bool) {
			yield([]byte("two"))
			panic("oops")
		})
	}()
	mustAppend(t, j, "three")
	if text(t, j) != "one three" {
		t.Fatalf("%q", text(t, j))
	}
}

func TestClosed(t *testing.T) {
	j := mustOpen(t, filepath.Join(t.TempDir(), "journal"), Options{Policy: Each})
	end := mustAppend(t, j, "one")
	mustClose(t, j)
	if _, err := j.Append(nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := j.Compact(nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := contents(j); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := j.Wait(t.Context(), end); err != nil {
		t.Errorf("it was made durable: %v", err)
	}
	if err := j.Wait(t.Context(), end+1); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestManyGoroutines: records of several goroutines are all there, those of each in
// its order, and none is waited for in vain.
func TestManyGoroutines(t *testing.T) {
	for _, policy := range []Policy{Process, Batch, Each} {
		path := filepath.Join(t.TempDir(), "journal")
		j := mustOpen(t, path, Options{Policy: policy, Interval: time.Millisecond, Size: 1 << 20})
		var all sync.WaitGroup
		for g := range uint64(4) {
			all.Go(func() {
				for i := range uint64(50) {
					end, err := j.Append(payload(g<<32|i, 40))
					if err == nil {
						err = j.Wait(context.Background(), end)
					}
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = j.Room(), j.Stats()
				}
			})
		}
		all.Wait()
		mustClose(t, j)
		var next [4]uint64
		got, err := contents(mustOpen(t, path, Options{}))
		if err != nil || len(got) != 200 {
			t.Fatal(len(got), err)
		}
		for _, b := range got {
			n, err := intact(b)
			if err != nil || n&0xffff != next[n>>32] {
				t.Fatal(n, err)
			}
			next[n>>32]++
		}
	}
}

// TestBatchSharesASync: what is appended within an interval is durable at its end, by
// one sync.
func TestBatchSharesASync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	synctest.Test(t, func(t *testing.T) {
		j := mustOpen(t, path, Options{Policy: Batch})
		defer j.Close()
		opened := j.Stats().Syncs
		for range 3 {
			start := time.Now()
			mustAppend(t, j, "one")
			time.Sleep(2 * time.Millisecond)
			end := mustAppend(t, j, "two")
			if err := j.Wait(t.Context(), end); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took != 5*time.Millisecond {
				t.Errorf("durable after %v", took)
			}
			time.Sleep(time.Second)
		}
		if n := j.Stats().Syncs - opened; n != 3 {
			t.Errorf("%d syncs", n)
		}
	})
}

// TestEachSyncsAtOnce: a sync starts at once, and what comes while it runs shares the next.
func TestEachSyncsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	synctest.Test(t, func(t *testing.T) {
		j := mustOpen(t, path, Options{Policy: Each, sync: func(func() error) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		}})
		defer j.Close()
		opened, start := j.Stats().Syncs, time.Now()
		ends := []uint64{mustAppend(t, j, "one")}
		synctest.Wait()
		ends = append(ends, mustAppend(t, j, "two"), mustAppend(t, j, "three"))
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Millisecond)
		defer cancel()
		if err := j.Wait(ctx, ends[0]); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("durable before the sync has ended: %v", err)
		}
		for i, want := range []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 20 * time.Millisecond} {
			if err := j.Wait(t.Context(), ends[i]); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took != want {
				t.Errorf("record %d is durable after %v", i, took)
			}
		}
		if n := j.Stats().Syncs - opened; n != 2 {
			t.Errorf("%d syncs", n)
		}
	})
}

// TestADiskThatFails: after one sync that fails, nothing is said to be durable any
// more, and what may be lost is not taken for whole later.
func TestADiskThatFails(t *testing.T) {
	for _, policy := range []Policy{Batch, Each} {
		path := filepath.Join(t.TempDir(), "journal")
		var sick error
		disk := func(sync func() error) error { return errors.Join(sick, sync()) }
		j := mustOpen(t, path, Options{Policy: policy, sync: disk})
		if err := j.Wait(t.Context(), mustAppend(t, j, "one")); err != nil {
			t.Fatal(err)
		}
		sick = syscall.EIO
		end := mustAppend(t, j, "two")
		if err := j.Wait(t.Context(), end); !errors.Is(err, ErrBroken) || !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		sick = nil
		if _, err := j.Append(nil); !errors.Is(err, ErrBroken) {
			t.Fatal(err)
		}
		if err := j.Close(); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); !errors.Is(err, ErrLost) {
			t.Fatal(err)
		}
	}
	for syncs := range 2 { // of Compact
		path := filepath.Join(t.TempDir(), "journal")
		fail := -1
		j := mustOpen(t, path, Options{Policy: Batch, Interval: time.Hour, sync: func(sync func() error) error {
			if fail--; fail == -1 {
				return syscall.ENOSPC
			}
			return sync()
		}})
		mustAppend(t, j, "one")
		fail = syncs
		if err := j.Compact(slices.Values([][]byte{nil})); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "journal")
	for range 2 { // of Open
		if _, err := Open(path, Options{Size: minSize, sync: func(func() error) error { return syscall.EIO }}); !errors.Is(err, syscall.EIO) && !errors.Is(err, ErrLost) {
			t.Fatal(err)
		}
	}
}
