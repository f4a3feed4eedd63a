package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// The worker contract's variables.
const (
	envSession   = "RPCPOOL_SESSION"    // "fd" (cold), "unix" (warm), "watchdog" (long-lived) or "calls": what descriptor 3 is
	envWorkDir   = "RPCPOOL_WORKDIR"    // the worker's own empty directory, and its cwd
	envSessionID = "RPCPOOL_SESSION_ID" // cold only; warm: in the hand-over
	envKey       = "RPCPOOL_KEY"        // cold only
	envClient    = "RPCPOOL_CLIENT"     // cold only
	envTimeout   = "RPCPOOL_TIMEOUT_S"  // cold only: seconds, 0: none
	envPhases    = "RPCPOOL_PHASES"     // the phases that have a budget, separated by commas
	envNotify    = "NOTIFY_SOCKET"      // as of sd_notify(3)
	envWatchdog  = "WATCHDOG_USEC"      // as of sd_watchdog_enabled(3): heartbeats are wanted
	envWatched   = "WATCHDOG_PID"       // never set: the pid is not known before the fork
)

// mergeEnv returns base, changed by each of changes in turn. A name is kept
// once, with its last value: libc would take the first, Python and Go the last.
func mergeEnv(base []string, changes ...[]string) []string {
	out := make([]string, 0, len(base)+8)
	at := make(map[string]int, len(base)+8)
	for _, list := range append([][]string{base}, changes...) {
		for _, entry := range list {
			name, _, ok := strings.Cut(entry, "=")
			if !ok || name == "" || strings.IndexByte(entry, 0) >= 0 {
				continue
			}
			if i, seen := at[name]; seen {
				out[i] = entry
				continue
			}
			at[name] = len(out)
			out = append(out, entry)
		}
	}
	return out
}

// order says what to launch.
type order struct {
	worker  string
	argv    []string
	start   supervise.Start
	session *supervise.Session
	fd      int // the session's descriptor, which the order owns; -1 for a warm worker
}

// workerEnv is the environment of a worker: what base (the agent's) and the
// start command say, and the worker contract. What base says of an outer session
// or an outer supervisor is dropped. Temporary files go to the work directory,
// unless the start command says otherwise.
func workerEnv(base []string, dir, notify string, o *order) []string {
	kept := make([]string, 0, len(base))
	for _, entry := range base {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case envSessionID, envKey, envClient, envTimeout, envPhases, envNotify, envWatchdog, envWatched:
		default:
			kept = append(kept, entry)
		}
	}
	contract := []string{envSession + "=" + sessionMode(o), envWorkDir + "=" + dir, "PWD=" + dir, envNotify + "=" + notify}
	if o.session != nil {
		contract = append(contract, envSessionID+"="+o.session.ID, envKey+"="+o.session.Key, envClient+"="+o.session.Client,
			envTimeout+"="+strconv.FormatFloat(o.session.Timeout.Seconds(), 'f', -1, 64))
	}
	if o.start.Heartbeat > 0 {
		contract = append(contract, envWatchdog+"="+strconv.FormatInt(o.start.Heartbeat.Microseconds(), 10))
	}
	if phases := budgeted(o.start.Budgets); phases != "" {
		contract = append(contract, envPhases+"="+phases)
	}
	// What a killed worker leaves in a shared /tmp, nobody would remove.
	temporary := []string{"TMPDIR=" + dir}
	return mergeEnv(kept, temporary, o.start.Env, contract)
}

// sessionMode says how a worker gets its session, or sessions.
func sessionMode(o *order) string {
	switch {
	case o.start.Calls && o.session != nil:
		return "calls"
	case o.start.LongLived:
		return "watchdog"
	case o.session != nil:
		return "fd"
	default:
		return "unix"
	}
}

// budgeted lists the phases that have a budget.
func budgeted(budgets map[supervise.Phase]time.Duration) string {
	var names []string
	for _, p := range supervise.Phases() {
		if budgets[p] > 0 {
			names = append(names, string(p))
		}
	}
	return strings.Join(names, ",")
}

// getenv returns the value of name in env.
func getenv(env []string, name string) string {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// lookPath finds the program that name means: as a path if it has a slash,
// relative to the current directory, else in pathList, and last in own, the
// directory of the agent's program: the worker of our own image is installed
// there with the agent. The result is absolute, for the worker runs elsewhere.
func lookPath(name, pathList, own string) (string, error) {
	if name == "" {
		return "", errors.New("the worker's program has no name")
	}
	if strings.Contains(name, "/") {
		abs, err := filepath.Abs(name)
		if err != nil {
			return "", fmt.Errorf("worker %q: %w", name, err)
		}
		if err := executable(abs); err != nil {
			return "", fmt.Errorf("worker %q: %w", name, err)
		}
		return abs, nil
	}
	denied := false
	dirs := filepath.SplitList(pathList)
	if own != "" {
		dirs = append(dirs, own)
	}
	for _, dir := range dirs {
		abs, err := filepath.Abs(filepath.Join(dir, name)) // an empty element is the current directory
		if err != nil {
			continue
		}
		err = executable(abs)
		if err == nil {
			return abs, nil
		}
		denied = denied || errors.Is(err, fs.ErrPermission)
	}
	if denied {
		return "", fmt.Errorf("worker %q: found in PATH, but not executable", name)
	}
	return "", fmt.Errorf("worker %q: not found in PATH (%s)", name, pathList)
}

// ownDir is the directory of the running program; empty if it is not known.
func ownDir() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Dir(self)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return unwrapPath(err)
	case info.IsDir():
		return syscall.EISDIR
	case info.Mode()&0o111 == 0:
		return fs.ErrPermission
	default:
		return nil
	}
}

// unwrapPath takes the operation and the path off an error: its message has
// named the program already.
func unwrapPath(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// maxWorkerID bounds a worker's id so that the name of its work directory and
// of its cgroup stay within NAME_MAX.
const maxWorkerID = 128

// sessionDir names the directory of a long-lived worker's nth session. No
// worker's id has such an end.
func sessionDir(worker string, n uint64) string { return worker + "+" + strconv.FormatUint(n, 10) }

// checkWorkerID accepts what is safe as part of a file's name.
func checkWorkerID(id string) error {
	if id == "" || len(id) > maxWorkerID {
		return fmt.Errorf("worker id has %d characters, want 1 to %d", len(id), maxWorkerID)
	}
	if id[0] == '.' {
		return fmt.Errorf("worker id %q begins with a dot", id)
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return fmt.Errorf("worker id %q has a character other than letters, digits, dot, dash and underscore", id)
		}
	}
	return nil
}
