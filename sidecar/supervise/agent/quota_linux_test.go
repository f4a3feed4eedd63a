package agent

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

const kib = 1 << 10

// onDisk is what a path itself takes up.
func onDisk(t *testing.T, path string) int64 {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		t.Fatal(err)
	}
	return s.Blocks * blockSize
}

func writeBytes(t *testing.T, path string, n int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, n), 0o644); err != nil {
		t.Fatal(err)
	}
}

// measured walks a directory to its end.
func measured(t *testing.T, dir string, limit int64) *walk {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(fd)
	w := &walk{limit: limit, rest: func() bool { return true }}
	if !w.dir(fd) {
		t.Fatal("the walk was ended")
	}
	return w
}

const noLimit = 1 << 62

func TestWalkMeasuresTheDisk(t *testing.T) {
	cases := map[string]struct {
		fill func(t *testing.T, dir, outside string)
		want func(t *testing.T, dir string) int64
	}{
		"nothing": {func(*testing.T, string, string) {}, func(*testing.T, string) int64 { return 0 }},
		"files, and files in directories": {
			func(t *testing.T, dir, _ string) {
				writeBytes(t, dir+"/a", 100*kib)
				writeBytes(t, dir+"/b/c/d", 50*kib)
				writeBytes(t, dir+"/b/e", 1)
			},
			func(t *testing.T, dir string) int64 {
				return onDisk(t, dir+"/a") + onDisk(t, dir+"/b") + onDisk(t, dir+"/b/c") + onDisk(t, dir+"/b/c/d") + onDisk(t, dir+"/b/e")
			},
		},
		"a file with three names counts once": {
			func(t *testing.T, dir, _ string) {
				writeBytes(t, dir+"/a", 100*kib)
				must(t, os.Link(dir+"/a", dir+"/b"))
				must(t, os.Link(dir+"/a", dir+"/c"))
			},
			func(t *testing.T, dir string) int64 { return onDisk(t, dir+"/a") },
		},
		"a hole counts for nothing": {
			func(t *testing.T, dir, _ string) {
				writeBytes(t, dir+"/a", 0)
				must(t, os.Truncate(dir+"/a", 1<<30))
			},
			func(*testing.T, string) int64 { return 0 },
		},
		"links are not followed": {
			func(t *testing.T, dir, outside string) {
				writeBytes(t, outside+"/big", 1000*kib)
				must(t, os.Symlink(outside, dir+"/link"))
				must(t, os.Symlink(outside+"/big", dir+"/file"))
				must(t, os.Symlink(".", dir+"/self"))
			},
			func(t *testing.T, dir string) int64 {
				return onDisk(t, dir+"/link") + onDisk(t, dir+"/file") + onDisk(t, dir+"/self")
			},
		},
		"pipes and sockets are harmless": {
			func(t *testing.T, dir, _ string) { must(t, unix.Mkfifo(dir+"/pipe", 0o600)) },
			func(*testing.T, string) int64 { return 0 },
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.fill(t, dir, t.TempDir())
			if got, want := measured(t, dir, noLimit).total, onDisk(t, dir)+c.want(t, dir); got != want {
				t.Errorf("%d bytes, want %d", got, want)
			}
		})
	}
}

// Trees that are built to be hard to walk: with many directories beside each
// other, and with a path that no system call would take.
func TestWalkCopesWithHostileTrees(t *testing.T) {
	t.Run("wide", func(t *testing.T) {
		dir := t.TempDir()
		var want int64
		for i := range 400 {
			path := filepath.Join(dir, fmt.Sprint("directory-with-a-long-name-", i), "file")
			writeBytes(t, path, kib)
			want += onDisk(t, path) + onDisk(t, filepath.Dir(path))
		}
		if got := measured(t, dir, noLimit).total; got != want+onDisk(t, dir) {
			t.Errorf("%d bytes, want %d", got, want+onDisk(t, dir))
		}
	})
	t.Run("deep", func(t *testing.T) {
		const depth = 1000
		dir := t.TempDir()
		name := strings.Repeat("d", 100)
		at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		for range depth {
			must(t, unix.Mkdirat(at, name, 0o755))
			next, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			must(t, err)
			_ = unix.Close(at)
			at = next
		}
		fd, err := unix.Openat(at, "file", unix.O_CREAT|unix.O_WRONLY, 0o600)
		must(t, err)
		_, err = unix.Write(fd, make([]byte, 1000*kib))
		must(t, err)
		_ = unix.Close(fd)
		_ = unix.Close(at)
		if got := measured(t, dir, noLimit); got.total < 1000*kib || got.deep {
			t.Errorf("%d bytes, too deep: %v", got.total, got.deep)
		}
		root, err := os.Open(filepath.Dir(dir))
		must(t, err)
		defer root.Close()
		must(t, removeTree(int(root.Fd()), filepath.Base(dir)))
	})
	t.Run("above the limit it stops", func(t *testing.T) {
		dir := t.TempDir()
		for i := range 500 {
			writeBytes(t, filepath.Join(dir, fmt.Sprint(i%7), fmt.Sprint(i)), 4*kib)
		}
		if w := measured(t, dir, 100*kib); !w.over() || w.entries > 100 {
			t.Errorf("%d bytes after %d entries", w.total, w.entries)
		}
	})
}

func TestWalkRests(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 * batchEntries {
		writeBytes(t, filepath.Join(dir, fmt.Sprint(i)), 0)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(fd)
	rests := 0
	w := &walk{limit: noLimit, rest: func() bool { rests++; return rests < 5 }}
	if w.dir(fd) || rests != 5 || w.entries != 5*batchEntries {
		t.Errorf("%d rests, %d entries", rests, w.entries)
	}
}

func TestWorkDirLimit(t *testing.T) {
	const limit, fill = 1 << 20, 3 << 20
	names := func(t *testing.T, r *supervise.Report) {
		t.Helper()
		if r.Limit != supervise.LimitWorkDir || !strings.Contains(r.Error, fmt.Sprint("limit is ", limit)) {
			t.Errorf("report %+v", r)
		}
		var size int64
		if _, err := fmt.Sscanf(r.Error, "work directory holds at least %d bytes", &size); err != nil || size <= limit {
			t.Errorf("error %q", r.Error)
		}
	}
	t.Run("over it", func(t *testing.T) {
		f := runAgent(t)
		client := f.cold("fill", f.limited(supervise.Limits{WorkDir: limit}, "fill", fmt.Sprint(fill)), 0)
		expect(t, client, "full")
		names(t, f.exit("fill", supervise.CauseOOM))
	})
	t.Run("within it", func(t *testing.T) {
		f := runAgent(t)
		client := f.cold("fill", f.limited(supervise.Limits{WorkDir: 2 * fill}, "fill", fmt.Sprint(fill)), 0)
		expect(t, client, "full")
		f.await(supervise.EventStarted, "fill")
		select {
		case e := <-f.events:
			t.Errorf("event %+v", e)
		case <-time.After(quotaEvery + quotaEvery/2):
		}
		_ = client.Close()
		f.exit("fill", supervise.CauseCompleted)
	})
	t.Run("in the directory of a session", func(t *testing.T) {
		f := runAgent(t)
		start := f.limited(supervise.Limits{WorkDir: limit}, "fill-session", fmt.Sprint(fill))
		start.LongLived = true
		f.warm("fill", start)
		f.await(supervise.EventReady, "fill")
		f.give("fill", 0)
		names(t, f.exit("fill", supervise.CauseOOM))
	})
}

// A worker cannot get away by renaming its directory.
func TestWorkDirLimitFollowsTheDirectory(t *testing.T) {
	f := runAgent(t)
	start := testStart("/bin/sh", "-c", `mv "$RPCPOOL_WORKDIR" "$RPCPOOL_WORKDIR-away" && mkdir "$RPCPOOL_WORKDIR" &&
		head -c 3000000 /dev/zero > file && read x <&3`)
	start.Limits.WorkDir = 1 << 20
	f.cold("mover", start, 0)
	f.exit("mover", supervise.CauseOOM)
	_ = os.RemoveAll(filepath.Join(f.options.WorkRoot, WorkDirPrefix+"mover-away"))
}

func TestQuotaEndsWithItsWorker(t *testing.T) {
	root, err := openWorkRoot(t.TempDir(), slog.New(slog.DiscardHandler))
	must(t, err)
	defer root.close()
	dir, err := root.make("w")
	must(t, err)
	q, err := newQuota(dir, 1<<20)
	must(t, err)
	ended := make(chan struct{})
	go func() {
		q.watch(func(why string, _ int) { t.Error(why) })
		close(ended)
	}()
	q.watchSession(dir)
	q.watchSession(nil)
	q.stop()
	q.stop()
	q.watchSession(dir) // too late
	<-ended
	must(t, dir.remove())
	none, err := newQuota(dir, 0)
	if none != nil || err != nil {
		t.Errorf("no limit, but %v, %v", none, err)
	}
	none.watchSession(dir)
	none.stop()
	if _, err := newQuota(dir, 1); err == nil {
		t.Error("the directory is gone, and can be watched")
	}
}
