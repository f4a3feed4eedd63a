package envtest_test

import (
	"testing"

	"rpcpool.dev/internal/kubetest"
)

// suite is the API server that all tests of this package share.
var suite = kubetest.NewSuite()

func TestMain(m *testing.M) { suite.Main(m) }
