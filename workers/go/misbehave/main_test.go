package misbehave_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
	"rpcpool.dev/workers/go/misbehave"
)

// envWorker makes the test binary a worker.
const envWorker = "RPCPOOL_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(envWorker) != "" {
		os.Exit(testWorker())
	}
	goleak.VerifyTestMain(m)
}

func testWorker() int {
	s := worker.New(tvm.FlavourC)
	if err := misbehave.Register(s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return worker.Main(s)
}
