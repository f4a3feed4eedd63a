package rdma

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// What the test binary is, and what it uses: see device_linux_test.go.
const (
	deviceEnv  = "RPCPOOL_RDMA_DEVICE"  // a real device; else tests that need one are skipped
	addressEnv = "RPCPOOL_RDMA_ADDRESS" // of this machine, on its network; default 127.0.0.1
	listenEnv  = "RPCPOOL_RDMA_LISTEN"  // HOST:PORT: be the other machine, until a client says that it is done
	peerEnv    = "RPCPOOL_RDMA_PEER"    // HOST:PORT of that; default: the other machine is this one
	netdevEnv  = "RPCPOOL_RDMA_NETDEV"  // of the device, on both machines: it may be taken down
	roleEnv    = "RPCPOOL_RDMA_ROLE"    // of a child: target, sum, locked
)

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(roleEnv); {
	case role == "target":
		err = target(os.NewFile(3, "control"))
	case role == "sum":
		err = sumOf(os.NewFile(3, "memory"))
	case role == "locked":
		lockedChild()
	case os.Getenv(listenEnv) != "":
		err = serve(os.Getenv(listenEnv))
	case os.Getenv(deviceEnv) != "":
		code := m.Run()
		if err = done(); err == nil {
			os.Exit(code)
		}
	default:
		goleak.VerifyTestMain(m)
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}
