package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rpcpool.dev/sidecar/supervise"
)

// The work root may vanish under the agent's feet, by a cleaner of /tmp or by a
// program under test. The next start makes it anew and holds it.
func TestWorkRootThatIsLostIsMadeAnew(t *testing.T) {
	cases := map[string]func(t *testing.T, root string){
		"removed":                 func(t *testing.T, root string) { must(t, os.RemoveAll(root)) },
		"removed with its parent": func(t *testing.T, root string) { must(t, os.RemoveAll(filepath.Dir(root))) },
		"renamed":                 func(t *testing.T, root string) { must(t, os.Rename(root, root+".gone")) },
		"replaced, with leftovers": func(t *testing.T, root string) {
			must(t, os.Rename(root, root+".gone"))
			mustMkdir(t, filepath.Join(root, WorkDirPrefix+"old", "deep"))
		},
	}
	for name, lose := range cases {
		t.Run(name, func(t *testing.T) {
			f := runAgent(t, func(o *Options) { o.WorkRoot = filepath.Join(t.TempDir(), "data", "work") })
			root := f.options.WorkRoot
			before := f.cold("before", f.behaviour("echo"), 0)
			f.await(supervise.EventStarted, "before")
			lose(t, root)
			for _, worker := range []string{"w1", "w2"} {
				want := filepath.Join(root, WorkDirPrefix+worker) + " 0"
				if got := readAll(t, f.cold(worker, f.behaviour("cwd"), 0)); got != want {
					t.Errorf("directory and entries: %q, want %q", got, want)
				}
				f.exit(worker, supervise.CauseCompleted)
			}
			_ = before.Close()
			f.exit("before", supervise.CauseCompleted)
			if left := dirNames(root + ".gone"); len(left) > 0 {
				t.Errorf("left in the old work root: %v", left)
			}
			if _, err := openWorkRoot(root, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrWorkRootInUse) {
				t.Errorf("the new work root is not held: %v", err)
			}
			if n := strings.Count(f.log.String(), "made anew"); n != 1 {
				t.Errorf("the log tells of it %d times", n)
			}
		})
	}
}

// What the agent cannot mend is a start failure that names the path, and is
// over when its cause is.
func TestWorkRootThatCannotBeMadeIsNamed(t *testing.T) {
	cases := map[string]struct {
		lose, mend func(t *testing.T, root string)
	}{
		"a file in its place": {
			func(t *testing.T, root string) { must(t, os.RemoveAll(root)); mustWrite(t, root) },
			func(t *testing.T, root string) { must(t, os.Remove(root)) },
		},
		"a file in its parent's place": {
			func(t *testing.T, root string) {
				must(t, os.RemoveAll(filepath.Dir(root)))
				mustWrite(t, filepath.Dir(root))
			},
			func(t *testing.T, root string) { must(t, os.Remove(filepath.Dir(root))) },
		},
		"another agent's": {
			func(t *testing.T, root string) {
				must(t, os.Rename(root, root+".gone"))
				other, err := openWorkRoot(root, slog.New(slog.DiscardHandler))
				must(t, err)
				t.Cleanup(other.close)
			},
			func(t *testing.T, root string) {
				must(t, os.Remove(root))
				must(t, os.Rename(root+".gone", root))
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := runAgent(t, func(o *Options) { o.WorkRoot = filepath.Join(t.TempDir(), "data", "work") })
			root := f.options.WorkRoot
			c.lose(t, root)
			f.warm("w1", f.behaviour("warm", "echo"))
			if r := f.exit("w1", supervise.CauseStartFailed); !strings.Contains(r.Error, root) {
				t.Errorf("the failure does not name %s: %s", root, r.Error)
			}
			c.mend(t, root)
			f.warm("w2", f.behaviour("warm", "echo"))
			f.await(supervise.EventReady, "w2")
		})
	}
}

// A work root that comes back while a worker still lives in it is the same one.
func TestWorkRootMayComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "work")
	root, err := openWorkRoot(path, slog.New(slog.DiscardHandler))
	must(t, err)
	defer root.close()
	first, err := root.make("w1")
	must(t, err)
	must(t, os.Rename(path, path+".gone"))
	second, err := root.make("w2")
	must(t, err)
	must(t, os.Rename(path, path+".second"))
	must(t, os.Rename(path+".gone", path))
	third, err := root.make("w3")
	must(t, err)
	if got := dirNames(path); !slices.Equal(got, []string{WorkDirPrefix + "w1", WorkDirPrefix + "w3"}) {
		t.Errorf("in the one that came back: %v", got)
	}
	if len(root.held) != 2 {
		t.Errorf("%d directories held, want 2", len(root.held))
	}
	must(t, errors.Join(first.remove(), second.remove(), third.remove()))
	if left := slices.Concat(dirNames(path), dirNames(path+".second")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if len(root.held) != 1 {
		t.Errorf("%d directories held, want the current one", len(root.held))
	}
}

// Root may enter every directory, so this is tried as somebody else.
func TestWorkRootThatDeniesItsOwner(t *testing.T) {
	base, err := os.MkdirTemp("", "agent-test")
	must(t, err)
	defer os.RemoveAll(base)
	cmd := asNobody(t, base, "deny-root", filepath.Join(base, "work"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// denyRoot takes the modes of a work root away before each step that needs them.
func denyRoot(path string) error {
	root, err := openWorkRoot(path, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer root.close()
	for _, mode := range []os.FileMode{0, 0o500, 0o300, 0o600} {
		worker := fmt.Sprintf("w%o", mode)
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
		dir, err := root.make(worker)
		if err != nil {
			return fmt.Errorf("make with mode %o: %w", mode, err)
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
		if err := dir.remove(); err != nil {
			return fmt.Errorf("remove with mode %o: %w", mode, err)
		}
	}
	// Replaced by one that cannot be opened.
	if err := errors.Join(os.Rename(path, path+".gone"), os.Mkdir(path, 0)); err != nil {
		return err
	}
	dir, err := root.make("new")
	if err != nil {
		return err
	}
	return dir.remove()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
