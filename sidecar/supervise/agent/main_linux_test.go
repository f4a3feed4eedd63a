package agent

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// roleEnv makes this test binary a worker or an agent of the tests.
const roleEnv = "RPCPOOL_AGENT_TEST_ROLE"

func TestMain(m *testing.M) {
	MaybeExec()
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role, os.Args[1:]))
	}
	// What an agent process that is killed leaves behind comes to the tests,
	// not to a PID 1 that may have ideas of its own.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Println("become a subreaper:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
