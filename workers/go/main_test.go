package worker_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
	"rpcpool.dev/workers/go/misbehave"
)

const (
	envWorker    = "RPCPOOL_TEST_WORKER"     // makes the test binary a worker
	envFileLimit = "RPCPOOL_TEST_FILE_LIMIT" // its limit for files, in bytes
)

func TestMain(m *testing.M) {
	if os.Getenv(envWorker) != "" {
		os.Exit(testWorker())
	}
	// Descriptors that whoever started the tests left open are not the workers'.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	goleak.VerifyTestMain(m)
}

// testWorker is the program that the contract tests start.
func testWorker() int {
	if limit, err := strconv.ParseUint(os.Getenv(envFileLimit), 10, 63); err == nil {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	s := worker.New(tvm.FlavourC)
	if err := misbehave.Register(s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for name, fn := range map[string]any{
		"tvm.rpc.server.load_module": func(string) {},
		"test.cwd":                   os.Getwd,
		"test.extend":                func(s *worker.Session, ms int64) { s.Extend(time.Duration(ms) * time.Millisecond) },
	} {
		if err := s.Register(name, fn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return worker.Main(s)
}
