//go:build linux

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// cgroupDir makes a control group in one of the places where a controller may
// be, told by a file that the group then has. The test is skipped where there
// is none.
func cgroupDir(t *testing.T, file string, parents ...string) string {
	t.Helper()
	name := fmt.Sprintf("rpcpool-%s-%d", filepath.Base(t.Name()), os.Getpid())
	for _, parent := range parents {
		dir := filepath.Join(parent, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			t.Cleanup(func() {
				// The kernel takes a moment to forget the last process.
				eventually(t, patience, dir+" can be removed", func() bool { return os.Remove(dir) == nil })
			})
			return dir
		}
		_ = os.Remove(dir)
	}
	t.Skipf("no writable control group with %s below %q (root is needed)", file, parents)
	return ""
}

// memoryGroup makes a group whose processes together get that many bytes.
func memoryGroup(t *testing.T, limit int) string {
	t.Helper()
	if dir := cgroupDirV1(t); dir != "" {
		write(t, filepath.Join(dir, "memory.limit_in_bytes"), strconv.Itoa(limit))
		return dir
	}
	dir := cgroupDir(t, "memory.max", "/sys/fs/cgroup", "/sys/fs/cgroup/unified")
	write(t, filepath.Join(dir, "memory.max"), strconv.Itoa(limit))
	return dir
}

func cgroupDirV1(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/sys/fs/cgroup/memory/memory.limit_in_bytes"); err != nil {
		return ""
	}
	return cgroupDir(t, "memory.limit_in_bytes", "/sys/fs/cgroup/memory")
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
