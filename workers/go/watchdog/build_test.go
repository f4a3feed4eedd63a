package watchdog

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// goTool runs the go command for another system.
func goTool(t *testing.T, target string, args ...string) []byte {
	t.Helper()
	system, machine, _ := strings.Cut(target, "/")
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+machine)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("go %s for %s: %v\n%s", strings.Join(args, " "), target, err, out)
	}
	return out
}

// TestBuildsWhereThereIsNoFork: this package, its monitor and their tests build
// for systems that no other part of a worker runs on.
func TestBuildsWhereThereIsNoFork(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the standard library for each system")
	}
	for _, target := range []string{"linux/amd64", "linux/arm64", "linux/riscv64", "darwin/arm64", "windows/amd64"} {
		t.Run(target, func(t *testing.T) {
			goTool(t, target, "build", "./...")
			goTool(t, target, "vet", "./...")
		})
	}
}

// TestThreadThatNeedsATurn runs these tests with the thread of other systems,
// which 32-bit programs have on Linux, too.
func TestThreadThatNeedsATurn(t *testing.T) {
	switch {
	case testing.Short():
		t.Skip("compiles the standard library for another machine")
	case runtime.GOOS != "linux" || runtime.GOARCH != "amd64":
		t.Skip("needs a machine that runs 32-bit programs, too")
	}
	out := goTool(t, "linux/386", "test", "-vet=off", "-short", "-v", ".")
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "after the deadline") || strings.Contains(line, "SKIP") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
