package journal

import (
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"
)

// child names what the test binary does when it is started as a process to be killed.
const child = "JOURNAL_TEST_CHILD"

// childIn prepares such a process.
func childIn(t *testing.T, dir, what string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), child+"="+what)
	return cmd
}

func TestMain(m *testing.M) {
	switch os.Getenv(child) {
	case "append":
		appendUntilKilled(".")
	case "full-disk":
		useFullDisk(".")
	case "read-only":
		useReadOnlyDisk(".")
	default:
		goleak.VerifyTestMain(m)
	}
}
