package matmul

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// runConfig makes the test binary run one configuration, as a worker would: it
// is how a crash is tested without dying of it.
const runConfig = "RPCPOOL_TEST_MATMUL_CONFIG"

func TestMain(m *testing.M) {
	if text := os.Getenv(runConfig); text != "" {
		os.Exit(runForTest(text))
	}
	goleak.VerifyTestMain(m)
}
