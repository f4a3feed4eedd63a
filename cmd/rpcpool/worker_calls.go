package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"rpcpool.dev/rpc/worker"
	"rpcpool.dev/rpc/worker/builtin"
)

// serveCalls is "rpcpool worker --calls".
func serveCalls() error {
	if !worker.Inherited() {
		return usageErrorf("no calls: a worker is started by a server, as by 'rpcpool serve --protocol rpc -- rpcpool worker --calls'")
	}
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	return builtin.Serve(context.Background())
}
