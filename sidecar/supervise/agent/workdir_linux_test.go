package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func mustMkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func mustWrite(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// removeIn removes name in dir as this process does, and fails if it stays.
func removeIn(t *testing.T, dir, name string) {
	t.Helper()
	parent, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	if err := removeTree(int(parent.Fd()), name); err != nil {
		t.Error(err)
	}
}

func TestRemoveTree(t *testing.T) {
	cases := map[string]func(t *testing.T, path string){
		"nothing there":   func(*testing.T, string) {},
		"empty directory": mustMkdir,
		"a file":          mustWrite,
		"files and directories": func(t *testing.T, path string) {
			for i := range 3 {
				mustMkdir(t, filepath.Join(path, "d", "e", fmt.Sprint(i), "f"))
				mustWrite(t, filepath.Join(path, "d", "e", fmt.Sprint(i), "f", "x"))
				mustWrite(t, filepath.Join(path, fmt.Sprint(i)))
			}
		},
		"more files than one listing holds": func(t *testing.T, path string) {
			mustMkdir(t, path)
			for i := range 1500 {
				mustWrite(t, filepath.Join(path, fmt.Sprint(i)))
			}
		},
		"links are removed, not followed": func(t *testing.T, path string) {
			outside := filepath.Join(filepath.Dir(path), "outside")
			mustMkdir(t, outside)
			mustWrite(t, filepath.Join(outside, "kept"))
			mustMkdir(t, path)
			if err := errors.Join(
				os.Symlink(outside, filepath.Join(path, "dir-link")),
				os.Symlink("/nowhere", filepath.Join(path, "dangling")),
				os.Link(filepath.Join(outside, "kept"), filepath.Join(path, "hard")),
				unix.Mkfifo(filepath.Join(path, "fifo"), 0o600),
			); err != nil {
				t.Fatal(err)
			}
		},
		"names that the remover itself uses": func(t *testing.T, path string) {
			mustMkdir(t, filepath.Join(path, filepath.Base(path)+"~1", filepath.Base(path)+"~2", "x"))
			mustMkdir(t, filepath.Join(path+"~1", "in the way"))
		},
	}
	for name, build := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			build(t, filepath.Join(dir, "tree"))
			removeIn(t, dir, "tree")
			for _, left := range dirNames(dir) {
				if left != "outside" && left != "tree~1" {
					t.Errorf("left: %s", left)
				}
			}
			if slices.Contains(dirNames(dir), "outside") {
				if _, err := os.Stat(filepath.Join(dir, "outside", "kept")); err != nil {
					t.Errorf("what a link pointed to: %v", err)
				}
			}
		})
	}
}

// A tree deeper than descriptors and path lengths allow.
func TestRemoveTreeOfAnyDepth(t *testing.T) {
	dir := t.TempDir()
	mustMkdir(t, filepath.Join(dir, "tree"))
	fd, err := unix.Open(filepath.Join(dir, "tree"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	const depth = 5000
	for range depth {
		if err := unix.Mkdirat(fd, "d", 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
		fd = next
	}
	_ = unix.Close(fd)
	removeIn(t, dir, "tree")
	if left := dirNames(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Root may enter every directory, so this is tried as somebody else.
func TestRemoveTreeThatDeniesItsOwner(t *testing.T) {
	base, err := os.MkdirTemp("", "agent-test")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	dir := filepath.Join(base, "root")
	for _, d := range []string{"tree/a/b/c", "tree/e"} {
		mustMkdir(t, filepath.Join(dir, d))
	}
	mustWrite(t, filepath.Join(dir, "tree/a/b/c/f"))
	cmd := asNobody(t, base, "remove", dir, "tree")
	for _, d := range []string{"tree/a/b/c", "tree/a/b", "tree/a", "tree/e", "tree"} {
		if err := os.Chmod(filepath.Join(dir, d), 0); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if left := dirNames(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// asNobody is this test binary in a role, as a user to whom modes matter and
// to whom everything in base is given.
func asNobody(t *testing.T, base, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(executablePath(t), args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, quickExit)
	if os.Geteuid() != 0 {
		return cmd
	}
	const nobody = 65534
	// The test binary must be within the other user's reach.
	program := filepath.Join(base, "program")
	if out, err := exec.Command("cp", cmd.Path, program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd.Path = program
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Dir = "/"
	err := filepath.WalkDir(base, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, nobody, nobody))
	})
	if err := errors.Join(err, os.Chmod(base, 0o755), os.Chmod(program, 0o755)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestWorkRootIsWipedOfOurOwnOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "root")
	mustMkdir(t, filepath.Join(path, WorkDirPrefix+"w1", "deep"))
	mustMkdir(t, filepath.Join(path, WorkDirPrefix+"w2~7", "half removed"))
	mustMkdir(t, filepath.Join(path, "somebody's"))
	mustWrite(t, filepath.Join(path, WorkDirPrefix+"file"))
	root, err := openWorkRoot(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer root.close()
	removed, err := root.wipe()
	if err != nil || !slices.Equal(removed, []string{WorkDirPrefix + "w1", WorkDirPrefix + "w2~7"}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if left := dirNames(path); !slices.Equal(left, []string{WorkDirPrefix + "file", "somebody's"}) {
		t.Errorf("left: %v", left)
	}
	// A leftover in the way of a new worker goes, too.
	mustMkdir(t, filepath.Join(path, WorkDirPrefix+"w3", "old"))
	dir, err := root.make("w3")
	if err != nil || len(dirNames(dir.path)) != 0 {
		t.Fatalf("it holds what was there, or %v", err)
	}
	info, err := os.Stat(dir.path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
