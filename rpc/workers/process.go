package workers

import (
	"context"
	"net"

	"rpcpool.dev/rpc/crash"
)

// Starter makes worker processes.
type Starter interface {
	// Start makes one, which is to say that it is ready by the handshake on its
	// channel. If it fails, nothing is left.
	Start(ctx context.Context) (Process, error)
}

// Process is a worker process.
type Process interface {
	// Channel is the server's end of the call channel. Who has it closes it.
	Channel() net.Conn
	// Kill ends the process, and all below it, now. It may be called at any time.
	Kill()
	// Exited is closed when the process has ended.
	Exited() <-chan struct{}
	// Report says how, then: Signal, Status, Core, OOM, usage, Output, Stack. The rest
	// is filled in here.
	Report() crash.Report
}
