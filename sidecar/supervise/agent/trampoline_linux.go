package agent

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// trampolineName is argv[0] of the trampoline. Its arguments: the agent's pid,
// the file size limit (0: none), the worker's program, and the worker's argv.
const trampolineName = "rpcpool-agent-trampoline"

const (
	trampolineArgs = 4 // with argv[0], without the worker's argv
	trampolineExit = 127
	// sessionFD is the worker's session or control socket; statusFD is where
	// the trampoline says why it could not run the worker. It closes on exec.
	sessionFD = 3
	statusFD  = 4
)

// oomRaise is added to the worker's oom_score_adj, so that it dies before the
// agent.
const oomRaise = 500

// MaybeExec turns the process into the worker if it was started as an agent's
// trampoline, and returns at once if it was not. A program that calls [Run],
// and a test binary that does, must call it first of all in main (TestMain):
// Go cannot run code between fork and exec, so the agent starts its own program
// anew, which prepares itself and then becomes the worker.
func MaybeExec() {
	if len(os.Args) < trampolineArgs+1 || os.Args[0] != trampolineName {
		return
	}
	runtime.LockOSThread() // parent-death signal and signal mask are a thread's
	err := becomeWorker(os.Args[1], os.Args[2], os.Args[3], os.Args[4:])
	_, _ = unix.Write(statusFD, []byte(err.Error()))
	os.Exit(trampolineExit)
}

// becomeWorker returns only if it fails.
func becomeWorker(agent, fileLimit, program string, argv []string) error {
	closeOnExecFrom(statusFD)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent-death signal: %w", err)
	}
	if pid, err := strconv.Atoi(agent); err != nil || pid != os.Getppid() {
		return fmt.Errorf("the agent (pid %s) is gone", agent)
	}
	limit, err := strconv.ParseUint(fileLimit, 10, 63)
	if err != nil {
		return fmt.Errorf("file size limit: %w", err)
	}
	if limit > 0 {
		if err := lowerLimit(unix.RLIMIT_FSIZE, limit); err != nil {
			return fmt.Errorf("set file size limit: %w", err)
		}
	}
	raiseOOMScore()
	var none unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil); err != nil {
		return fmt.Errorf("clear signal mask: %w", err)
	}
	if err := syscall.Exec(program, argv, os.Environ()); err != nil { //nolint:gosec // running it is the purpose
		return fmt.Errorf("run %s: %w", program, err)
	}
	return nil
}

// closeOnExecFrom keeps what the agent itself inherited without close-on-exec,
// and so hands on unwillingly, from the worker.
func closeOnExecFrom(first uint) {
	if unix.CloseRange(first, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	closeOnExecListed(first)
}

// closeOnExecListed is for Linux before 5.11, which has no close_range that
// marks.
func closeOnExecListed(first uint) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		syscall.CloseOnExec(statusFD)
		return
	}
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if fd, err := strconv.ParseUint(name, 10, 31); err == nil && uint(fd) >= first {
			syscall.CloseOnExec(int(fd))
		}
	}
}

// lowerLimit sets both limits of a resource, within what is allowed.
func lowerLimit(resource int, limit uint64) error {
	var old unix.Rlimit
	if err := unix.Getrlimit(resource, &old); err != nil {
		return err //nolint:wrapcheck // named by the caller
	}
	limit = min(limit, old.Max)
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}) //nolint:wrapcheck // named by the caller
}

// raiseOOMScore is best effort: it fails only where /proc is not writable.
func raiseOOMScore() {
	const path, most = "/proc/self/oom_score_adj", 1000
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	n := len(b)
	for n > 0 && b[n-1] == '\n' {
		n--
	}
	if score, err := strconv.Atoi(string(b[:n])); err == nil {
		_ = os.WriteFile(path, []byte(strconv.Itoa(min(score+oomRaise, most))), 0)
	}
}
