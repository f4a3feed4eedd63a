// Command monitor restarts a program a hundred times and prints what the kernel
// says of itself: how much memory a monitor takes.
package main

import (
	"context"
	"os"
	"os/exec"
	"time"

	"rpcpool.dev/workers/go/watchdog/monitor"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	left := 100
	_ = monitor.Monitor{
		Command: func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, "true") },
		AtOnce:  time.Nanosecond,
		Ended: func(monitor.End) {
			if left--; left == 0 {
				cancel()
			}
		},
	}.Run(ctx)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(status)
}
