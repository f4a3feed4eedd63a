//go:build linux

package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise/agent"
)

// The names under which the test binary is started again.
const (
	agentName  = "rpcpool-agent"
	workerName = "rpcpool-worker"
	serveName  = "rpcpool-serve"
)

// Programs of this run, links to the test binary; set by TestMain and read-only
// after that.
var agentPath, workerPath, servePath string

func TestMain(m *testing.M) {
	agent.MaybeExec()
	switch filepath.Base(os.Args[0]) {
	case agentName:
		os.Exit(agentMain(os.Args[1:]))
	case workerName:
		os.Exit(workerMain(os.Args[1:]))
	case serveName:
		os.Exit(serveMain(os.Args[1:]))
	}
	os.Exit(testMain(m))
}

// testMain runs the tests and then looks for what they left behind: processes,
// descriptors, goroutines.
func testMain(m *testing.M) int {
	// Whatever outlives an agent becomes a child of this process and is seen.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "become a subreaper:", err)
		return 1
	}
	// With the race detector a process rests for a second before it exits; a
	// worker that has done its work must not.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := linkPrograms()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := inParallel(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	before := len(openFDs(os.Getpid()))
	code := m.Run()
	if code != 0 {
		return code
	}
	if err := leftBehind(before); err != nil {
		fmt.Fprintln(os.Stderr, "left behind:", err)
		return 1
	}
	return 0
}

// inParallel runs more tests at a time than there are processors, unless the
// caller has said how many: most of them wait, most of the time.
func inParallel() error {
	const tests = 12
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if said {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(tests))
}

func linkPrograms() (dir string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp("", "conformance-"); err != nil {
		return "", err
	}
	for name, path := range map[string]*string{agentName: &agentPath, workerName: &workerPath, serveName: &servePath} {
		*path = filepath.Join(dir, name)
		if err := os.Symlink(self, *path); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// leftBehind tells what the tests did not clean up. Descriptors may be fewer
// than before, and one or two more: the runtime opens its own poller late.
func leftBehind(fdsBefore int) error {
	if err := goleak.Find(); err != nil {
		return err
	}
	const runtimeFDs = 4
	var children []int
	var fds []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		reapOrphans()
		children, fds = descendants(os.Getpid()), openFDs(os.Getpid())
		if len(children) == 0 && len(fds) <= fdsBefore+runtimeFDs {
			return nil
		}
	}
	return fmt.Errorf("processes %v, %d descriptors (%d before): %q", children, len(fds), fdsBefore, fds)
}

// reapOrphans buries what a test killed the parent of, in the place of init.
// An agent that is alive reaps its own: see the tests that look below it.
func reapOrphans() {
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
			return
		}
	}
}

// stress tells whether the run is the long one.
func stress() bool { return os.Getenv("RPCPOOL_STRESS") != "" }

// scaled returns full in the long run and normal otherwise.
func scaled(normal, full int) int {
	if stress() {
		return full
	}
	return normal
}
