package agent

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// trampolineName is argv[0] of the trampoline. Its arguments: a [trampoline] as
// JSON, and the worker's argv.
const trampolineName = "rpcpool-agent-trampoline"

// trampoline says what is to be done between fork and exec of a worker.
type trampoline struct {
	Agent    int     `json:"agent"`              // pid
	Program  string  `json:"program"`            // path
	Files    int64   `json:"files,omitempty"`    // descriptors at most; 0: no limit
	FileSize int64   `json:"fileSize,omitempty"` // bytes of each file at most; 0: no limit
	Groups   []entry `json:"groups,omitempty"`   // what puts it under its control groups
}

func encodeTrampoline(t trampoline) (string, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("encode trampoline: %w", err)
	}
	return string(b), nil
}

const (
	trampolineArgs = 2 // with argv[0], without the worker's argv
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
// trampoline, or into the guard if as that (see [Guarded]), and returns at once
// if it was not. A program that calls [Run], and a test binary that does, must
// call it first of all in main (TestMain): Go cannot run code between fork and
// exec, so the agent starts its own program anew, which prepares itself and then
// becomes the worker.
func MaybeExec() {
	switch {
	case len(os.Args) > guardArgs && os.Args[0] == guardName:
		os.Exit(runGuard(os.Args[1], os.Args[guardArgs:]))
	case len(os.Args) <= trampolineArgs || os.Args[0] != trampolineName:
		return
	}
	runtime.LockOSThread() // parent-death signal and signal mask are a thread's
	err := becomeWorker(os.Args[1], os.Args[trampolineArgs:])
	_, _ = unix.Write(statusFD, []byte(err.Error()))
	os.Exit(trampolineExit)
}

// becomeWorker returns only if it fails.
func becomeWorker(plan string, argv []string) error {
	var t trampoline
	if err := json.Unmarshal([]byte(plan), &t); err != nil {
		return fmt.Errorf("decode trampoline: %w", err)
	}
	closeOnExecFrom(statusFD)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent-death signal: %w", err)
	}
	if t.Agent != os.Getppid() {
		return fmt.Errorf("the agent (pid %d) is gone", t.Agent)
	}
	groups, err := openGroups(t.Groups) // before the limit on descriptors
	if err != nil {
		return err
	}
	if err := limitResources(t); err != nil {
		return err
	}
	raiseOOMScore()
	var none unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil); err != nil {
		return fmt.Errorf("clear signal mask: %w", err)
	}
	if err := enterGroups(t.Groups, groups); err != nil {
		return err
	}
	if err := syscall.Exec(t.Program, argv, os.Environ()); err != nil { //nolint:gosec // running it is the purpose
		return fmt.Errorf("run %s: %w", t.Program, err)
	}
	return nil
}

// openGroups opens the files of entries.
func openGroups(entries []entry) (fds []int, err error) {
	for _, e := range entries {
		fd, err := unix.Open(e.File, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("enter control group: open %s: %w", e.File, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// enterGroups writes entries to their files. It must be followed by the exec,
// and by nothing that Go might start a thread for: a limit on processes may be
// so low that it could not, and that would be the end.
func enterGroups(entries []entry, fds []int) error {
	for i, e := range entries {
		text := []byte(e.Text)
		_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fds[i]), uintptr(unsafe.Pointer(&text[0])), uintptr(len(text))) //nolint:gosec // a system call that Go does not know to be one
		if errno != 0 {
			return fmt.Errorf("enter control group: write %s to %s: %w", e.Text, e.File, errno)
		}
	}
	return nil
}

// limitResources sets the limits that each process has for itself.
func limitResources(t trampoline) error {
	if err := lowerLimit(unix.RLIMIT_FSIZE, t.FileSize); err != nil {
		return fmt.Errorf("limit the size of files: %w", err)
	}
	if err := lowerLimit(unix.RLIMIT_NOFILE, t.Files); err != nil {
		return fmt.Errorf("limit open files: %w", err)
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

// lowerLimit sets both limits of a resource, within what is allowed; 0 leaves
// them.
func lowerLimit(resource int, limit int64) error {
	if limit <= 0 {
		return nil
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(resource, &old); err != nil {
		return err //nolint:wrapcheck // named by the caller
	}
	most := min(uint64(limit), old.Max)
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most}) //nolint:wrapcheck // named by the caller
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
