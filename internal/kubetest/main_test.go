package kubetest_test

import (
	"testing"

	"rpcpool.dev/internal/kubetest"
)

var suite = kubetest.NewSuite()

func TestMain(m *testing.M) { suite.Main(m) }
