package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"rpcpool.dev/sidecar/supervise"
)

// The worker contract's variables.
const (
	envSession   = "RPCPOOL_SESSION"    // "fd" (cold) or "unix" (warm): what descriptor 3 is
	envWorkDir   = "RPCPOOL_WORKDIR"    // the worker's own empty directory, and its cwd
	envSessionID = "RPCPOOL_SESSION_ID" // cold only; warm: in the hand-over
	envKey       = "RPCPOOL_KEY"        // cold only
	envClient    = "RPCPOOL_CLIENT"     // cold only
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

// workerEnv is the environment of a worker: what base (the agent's) and extra
// (the start command's) say, and the worker contract. session is nil for a warm
// worker. What base says of an outer session is dropped. Temporary files go to
// the work directory, unless extra says otherwise.
func workerEnv(base, extra []string, dir string, session *supervise.Session) []string {
	kept := make([]string, 0, len(base))
	for _, entry := range base {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case envSessionID, envKey, envClient:
		default:
			kept = append(kept, entry)
		}
	}
	contract := []string{envSession + "=unix", envWorkDir + "=" + dir, "PWD=" + dir}
	if session != nil {
		contract[0] = envSession + "=fd"
		contract = append(contract,
			envSessionID+"="+session.ID, envKey+"="+session.Key, envClient+"="+session.Client)
	}
	// What a killed worker leaves in a shared /tmp, nobody would remove.
	temporary := []string{"TMPDIR=" + dir}
	return mergeEnv(kept, temporary, extra, contract)
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
// relative to the current directory, else in pathList. The result is absolute,
// for the worker runs elsewhere.
func lookPath(name, pathList string) (string, error) {
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
	for _, dir := range filepath.SplitList(pathList) {
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
