package agent

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

func TestCorePattern(t *testing.T) {
	cases := map[string]struct {
		pattern  string
		want     string
		absolute bool
	}{
		"the default":             {"core\n", "core core.7", false},
		"with the pid":            {"core.%p", "core.7 core.7.7", false},
		"with what is not known":  {"%e-%s-%t", "*-*-* *-*-*.7", false},
		"with a percent sign":     {"100%%", "100% 100%.7", false},
		"with an unknown letter":  {"core%z%", "core core.7", false},
		"with signs of a pattern": {`[a]*\`, `\[a]\*\\ \[a]\*\\.7`, false},
		"absolute":                {"/var/core/%e.%p", "/var/core/*.7 /var/core/*.7.7", true},
		"a program":               {"|/usr/share/apport %p", "", false},
		"a socket":                {"@/run/coredump.socket", "", false},
		"below":                   {"cores/core", "", false},
		"none":                    {"\n", "", false},
	}
	for name, c := range cases {
		globs, absolute := corePattern(c.pattern).names(7)
		if got := strings.Join(globs, " "); got != c.want || absolute != c.absolute {
			t.Errorf("%s: %s (absolute: %v), want %s", name, got, absolute, c.want)
		}
	}
}

// segfault is a worker that leaves a core dump where the kernel puts it.
func segfault(before string) *supervise.Start {
	return testStart("/bin/sh", "-c", before+"\nulimit -c unlimited; kill -SEGV $$")
}

// dumpsHere skips a test where dumps do not come to the work directory.
func dumpsHere(t *testing.T) {
	t.Helper()
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		t.Skip(err)
	}
	if globs, absolute := corePattern(pattern).names(1); len(globs) == 0 || absolute {
		t.Skipf("core dumps go to %q here", pattern)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Max != unix.RLIM_INFINITY {
		t.Skipf("core dumps are limited to %d bytes here, %v", limit.Max, err)
	}
}

func TestCoreDumpsAreKept(t *testing.T) {
	dumpsHere(t)
	dir := filepath.Join(t.TempDir(), "cores")
	f := runAgent(t, func(o *Options) { o.CoreDir = dir })
	var paths []string
	for i := range maxCores + 2 {
		worker := fmt.Sprint("w", i)
		f.cold(worker, segfault("echo decoy > corelike; ln -s /etc/passwd core.0; mkdir core.1"), 0)
		r := f.exit(worker, supervise.CauseCrashSignal)
		if r.Signal != syscall.SIGSEGV || !r.Core || !strings.HasPrefix(r.CorePath, filepath.Join(dir, corePrefix+worker+".")) {
			t.Fatalf("report %+v", r)
		}
		paths = append(paths, r.CorePath)
	}
	kept := dirNames(dir)
	for i, path := range paths {
		if want := i >= len(paths)-maxCores; slices.Contains(kept, filepath.Base(path)) != want {
			t.Errorf("%s is kept: %v", path, !want)
		}
	}
	file, err := os.Open(paths[len(paths)-1])
	must(t, err)
	defer file.Close()
	head := make([]byte, 4)
	if _, err := io.ReadFull(file, head); err != nil || string(head) != "\x7fELF" {
		t.Errorf("the dump begins with %q, %v", head, err)
	}
}

func TestCoreDumpsAreNotKept(t *testing.T) {
	dumpsHere(t)
	t.Run("where nobody wants them", func(t *testing.T) {
		f := runAgent(t)
		f.cold("w", segfault(""), 0)
		if r := f.exit("w", supervise.CauseCrashSignal); !r.Core || r.CorePath != "" {
			t.Errorf("report %+v", r)
		}
	})
	t.Run("where there are none", func(t *testing.T) {
		f := runAgent(t, func(o *Options) { o.CoreDir = t.TempDir() })
		f.cold("w", testStart("/bin/sh", "-c", "ulimit -c 0; echo > core; kill -SEGV $$"), 0)
		if r := f.exit("w", supervise.CauseCrashSignal); r.Core || r.CorePath != "" {
			t.Errorf("report %+v", r)
		}
		f.cold("elsewhere", segfault("cd /proc"), 0)
		if r := f.exit("elsewhere", supervise.CauseCrashSignal); r.CorePath != "" {
			t.Errorf("report %+v", r)
		}
	})
}

// fakeCores keeps dumps of a kernel with another pattern.
func fakeCores(t *testing.T, dir, pattern string) *cores {
	t.Helper()
	return &cores{dir: dir, proc: fakeRoot(t, map[string]string{"sys/kernel/core_pattern": pattern})}
}

func TestCoreDumpsElsewhereAreFound(t *testing.T) {
	dir := t.TempDir()
	c := &child{pid: 77, begun: time.Now()}
	k := fakeCores(t, "", dir+"/%e.%p\n")
	if path, err := k.keep("w", c, true); path != "" || err != nil {
		t.Errorf("found %q, %v where nothing is", path, err)
	}
	old := filepath.Join(dir, "a.77")
	writeBytes(t, old, 1)
	must(t, os.Chtimes(old, time.Time{}, time.Now().Add(-time.Hour)))
	if path, err := k.keep("w", c, true); path != "" || err != nil {
		t.Errorf("found %q, %v from before", path, err)
	}
	writeBytes(t, filepath.Join(dir, "sh.77"), 1)
	writeBytes(t, filepath.Join(dir, "sh.78"), 1)
	if path, err := k.keep("w", c, true); path != filepath.Join(dir, "sh.77") || err != nil {
		t.Errorf("found %q, %v", path, err)
	}
	if path, err := k.keep("w", c, false); path != "" || err != nil {
		t.Errorf("found %q, %v without a dump", path, err)
	}
	if path, err := fakeCores(t, dir, "|/bin/handler\n").keep("w", c, true); path != "" || err != nil {
		t.Errorf("found %q, %v behind a program", path, err)
	}
	if _, err := (&cores{dir: dir, proc: t.TempDir()}).keep("w", c, true); err == nil {
		t.Error("no pattern, no error")
	}
}

func TestDumpIsCopiedWithItsHoles(t *testing.T) {
	dir := t.TempDir()
	source, err := os.Create(filepath.Join(dir, "core"))
	must(t, err)
	defer source.Close()
	data := bytes.Repeat([]byte("dump"), 4*kib)
	const size = 256 << 20
	for _, at := range []int64{0, 64 << 20, 200<<20 + 5} {
		_, err := source.WriteAt(data, at)
		must(t, err)
	}
	must(t, source.Truncate(size))
	target, err := os.Create(filepath.Join(dir, "copy"))
	must(t, err)
	defer target.Close()
	parent, err := os.Open(dir)
	must(t, err)
	defer parent.Close()
	must(t, copyDump(target, int(parent.Fd()), "core"))
	if a, b := sum(t, source), sum(t, target); a != b {
		t.Error("the copy differs")
	}
	if used := onDisk(t, target.Name()); used > 2*onDisk(t, source.Name()) {
		t.Errorf("the copy takes up %d bytes, the dump %d", used, onDisk(t, source.Name()))
	}
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	if copyDump(target, int(parent.Fd()), "link") == nil {
		t.Error("a link is followed")
	}
}

// A dump comes to another file system, too.
func TestDumpMovesBetweenFileSystems(t *testing.T) {
	var here, there unix.Stat_t
	must(t, unix.Stat(t.TempDir(), &here))
	if unix.Stat("/dev/shm", &there) != nil || here.Dev == there.Dev {
		t.Skip("there is no other file system at /dev/shm")
	}
	to, err := os.MkdirTemp("/dev/shm", "rpcpool-agent-test-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(to)
	root, err := openWorkRoot(t.TempDir(), slog.New(slog.DiscardHandler))
	must(t, err)
	defer root.close()
	dir, err := root.make("w")
	must(t, err)
	writeBytes(t, filepath.Join(dir.path, "core.77"), 5*kib)
	path, err := fakeCores(t, to, "core.%p\n").keep("w", &child{pid: 77, dir: dir, begun: time.Now()}, true)
	must(t, err)
	if info, err := os.Stat(path); err != nil || info.Size() != 5*kib || filepath.Dir(path) != to {
		t.Errorf("kept at %q, %v", path, err)
	}
	must(t, dir.remove())
}

func sum(t *testing.T, f *os.File) string {
	t.Helper()
	_, err := f.Seek(0, io.SeekStart)
	must(t, err)
	h := sha256.New()
	_, err = io.Copy(h, f)
	must(t, err)
	return string(h.Sum(nil))
}
