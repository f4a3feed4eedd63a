package worker_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
)

func TestFilesComeBackAsTheyWere(t *testing.T) {
	inEveryFlavour(t, func(t *testing.T, f tvm.Flavour) {
		dir := t.TempDir()
		s := worker.New(f)
		s.SetWorkDir(dir)
		session, ctx := open(t, s, f), t.Context()
		random := rand.New(rand.NewPCG(1, 2))
		for name, size := range map[string]int{"empty": 0, "small.so": 1000, "sub/dir/large.tar": 3 << 20} {
			want := make([]byte, size)
			for i := range want {
				want[i] = byte(random.Uint32())
			}
			if err := session.Upload(ctx, name, want); err != nil {
				t.Fatal(err)
			}
			if got, err := session.Download(ctx, name); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes of %d came back, %v", name, len(got), size, err)
			}
		}
		if err := session.Upload(ctx, "empty", []byte("replaced")); err != nil {
			t.Fatal(err)
		}
		if got, err := session.Download(ctx, "empty"); err != nil || string(got) != "replaced" {
			t.Errorf("replaced file holds %q, %v", got, err)
		}
		if got := call(t, session, "tvm.rpc.server.workpath", "small.so"); got != filepath.Join(dir, "small.so") {
			t.Errorf("path of a file is %v", got)
		}
		if got := call(t, session, "tvm.rpc.server.listdir", "sub"); got != "dir" {
			t.Errorf("listing of sub: %v", got)
		}
		if err := session.Remove(ctx, "small.so"); err != nil {
			t.Error(err)
		}
		names, err := session.ListDir(ctx)
		if diff := cmp.Diff([]string{"empty", "sub"}, names); diff != "" || err != nil {
			t.Error(err, diff)
		}
		if _, err := session.Download(ctx, "small.so"); !remoteSays(err, `download "small.so": `) {
			t.Errorf("download of a file that is not there: %v", err)
		}
		// What MetaSchedule's clean-up does: remove what may not be there, and "".
		for _, name := range []string{"small.so", "absent/file", ""} {
			if err := session.Remove(ctx, name); err != nil {
				t.Errorf("remove %q: %v", name, err)
			}
		}
		if err := session.Remove(ctx, "sub"); !remoteSays(err, `remove "sub": `) {
			t.Errorf("remove of a directory that is not empty: %v", err)
		}
	})
}

func TestFilesStayInTheWorkDirectory(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(outside, "work")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"link": secret, "dirlink": outside} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	s := worker.New(tvm.FlavourC)
	s.SetWorkDir(dir)
	session, ctx := open(t, s, tvm.FlavourC), t.Context()
	for _, name := range []string{secret, "../secret", "a/../../secret", "link", "dirlink/secret", "..", "/", "dirlink/new"} {
		if err := session.Upload(ctx, name, []byte("overwritten")); err == nil {
			t.Errorf("upload to %q was done", name)
		}
		if b, err := session.Download(ctx, name); err == nil {
			t.Errorf("download of %q gave %q", name, b)
		}
		if name == "link" {
			continue // removes the link itself, which is inside
		}
		if err := session.Remove(ctx, name); err == nil {
			t.Errorf("remove of %q was done", name)
		}
	}
	for _, name := range []string{secret, "../secret"} {
		_, err := session.Download(ctx, name)
		if !remoteSays(err, "is outside of the session's work directory") {
			t.Errorf("download of %q: %v", name, err)
		}
		if _, err := session.Call(ctx, "tvm.rpc.server.workpath", name); !remoteSays(err, "outside") {
			t.Errorf("path of %q: %v", name, err)
		}
		if _, err := session.Call(ctx, "tvm.rpc.server.listdir", filepath.Dir(name)); !remoteSays(err, "outside") {
			t.Errorf("listing of %q: %v", filepath.Dir(name), err)
		}
	}
	entries, err := os.ReadDir(outside)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" || len(entries) != 2 {
		t.Errorf("outside: file holds %q, %v; %d entries", b, err, len(entries))
	}
}

func TestWithoutAWorkDirectoryThereAreNoFiles(t *testing.T) {
	session := open(t, worker.New(tvm.FlavourC), tvm.FlavourC)
	if err := session.Upload(t.Context(), "x", nil); !remoteSays(err, "no work directory") {
		t.Errorf("upload: %v", err)
	}
	if _, err := session.ListDir(t.Context()); !remoteSays(err, "no work directory") {
		t.Errorf("listing: %v", err)
	}
	if _, err := session.Call(t.Context(), "tvm.rpc.server.workpath", ""); !remoteSays(err, "no work directory") {
		t.Errorf("path: %v", err)
	}
}

func TestFunctionsThatCannotBeRegistered(t *testing.T) {
	s := worker.New(tvm.FlavourC)
	for _, c := range []struct {
		name string
		fn   any
		want string
	}{
		{"", func() {}, "needs a name"},
		{"f", nil, `function "f": <nil> is not a function`},
		{"f", 7, "int is not a function"},
		{"f", (func())(nil), "is not a function"},
		{"f", func(int, map[string]int) {}, "parameter #1: no value of the wire can become a map[string]int"},
		{"f", func(...chan int) {}, "parameter #0: no value of the wire can become a chan int"},
		{"f", func() (int, int) { return 0, 0 }, "2 results"},
		{"f", func() []int { return nil }, "a []int cannot be returned"},
		{"f", func(error) {}, "parameter #0"},
	} {
		if err := s.Register(c.name, c.fn); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Register(%q, %T) = %v, want %q", c.name, c.fn, err, c.want)
		}
	}
}
