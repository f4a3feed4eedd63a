//go:build linux

package conformance

import (
	"debug/buildinfo"
	"debug/elf"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const root = "../.." // of the repository

// goFiles parses the Go files below a directory, tests left out.
func goFiles(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		files[path] = f
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	return files
}

func imports(f *ast.File, pkg string) bool {
	for _, i := range f.Imports {
		if strings.Trim(i.Path.Value, `"`) == pkg {
			return true
		}
	}
	return false
}

// encodes tells whether a file makes bytes of the wire itself.
func encodes(f *ast.File) bool {
	found := imports(f, "encoding/binary")
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "tvm" && strings.HasPrefix(s.Sel.Name, "Append") {
				found = true
			}
		}
		return true
	})
	return found
}

func TestS0_01_ServersShareTheCore(t *testing.T) {
	t.Parallel()
	servers := 0
	for path, f := range goFiles(t, "cmd") {
		if encodes(f) {
			t.Errorf("%s makes bytes of the protocol; programs hold flags and wiring", path)
		}
		if imports(f, "rpcpool.dev/sidecar") {
			servers++
		}
	}
	if servers < 2 { // rpcpool and rpcpool-sidecar; the embedder is Example_embeddedServer
		t.Errorf("%d files of programs import the server's package", servers)
	}
	core := 0
	for _, f := range goFiles(t, "sidecar") {
		if encodes(f) {
			core++
		}
	}
	if core == 0 {
		t.Error("nothing in the core makes bytes of the protocol: this test looks for the wrong thing")
	}
}

// emptyRoot makes a directory tree with nothing in it but static programs, a
// null device and /proc, as an image built from scratch has.
func emptyRoot(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can change the root directory")
	}
	dir := tempDir(t)
	for _, sub := range []string{"proc", "dev", "run", "work"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const null = 1<<8 | 3
	if err := unix.Mknod(filepath.Join(dir, "dev/null"), unix.S_IFCHR|0o666, null); err != nil {
		t.Skipf("cannot make a device file: %v", err)
	}
	proc := filepath.Join(dir, "proc")
	if err := unix.Mount("proc", proc, "proc", 0, ""); err != nil {
		t.Skipf("cannot mount /proc: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(proc, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/", "./cmd/sidecar", "./cmd/agent", "./cmd/worker")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

func checkStatic(t *testing.T, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	libraries, _ := f.ImportedLibraries()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			libraries = append(libraries, "a program loader")
		}
	}
	if len(libraries) > 0 {
		t.Errorf("%s needs %q", path, libraries)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range info.Deps {
		if strings.Contains(d.Path, "k8s.io") {
			t.Errorf("%s knows Kubernetes: %s", path, d.Path)
		}
	}
}

func TestS0_02_StaticProgramsInAnEmptyRoot(t *testing.T) {
	t.Parallel()
	dir := emptyRoot(t)
	start := func(program string, args ...string) {
		checkStatic(t, filepath.Join(dir, program))
		cmd := exec.Command("/"+program, args...)
		cmd.Env, cmd.Dir = []string{}, "/"
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v", program, err)
			}
		})
	}
	tr := startTracker(t)
	start("agent", "--socket", "/run/agent.sock", "--work-root", "/work", "--log-level", "error", "--", "/worker", "--test-functions")
	start("sidecar", "--key", key, "--listen", "127.0.0.1:0", "--tracker", tr.addr, "--agent-socket", "/run/agent.sock",
		"--metrics", "", "--log-level", "error")
	tr.works()
	if n := len(tr.Summary().Servers); n != 1 {
		t.Errorf("%d servers are registered", n)
	}
}
