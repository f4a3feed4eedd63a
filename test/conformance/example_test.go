//go:build linux

package conformance_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/sidecar"
)

// A whole server of one's own: registered with a tracker, every session in a
// worker process, with a deadline, offered again however a worker ends.
func Example_embeddedServer() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	agent := sidecar.AgentOptions{Path: "/usr/local/bin/rpcpool-agent", Dir: "/run/board7"}
	listener, err := tcp.Listen("0.0.0.0:9090-9199")
	if err != nil {
		log.Fatal(err)
	}
	server, err := sidecar.New(sidecar.Options{
		Key: "rk3588", Listener: listener, Tracker: "tracker:9190", Warm: 1,
		AgentSocket: agent.Socket(), Command: []string{"python3", "/opt/worker.py"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := sidecar.RunWithAgent(ctx, server, agent); err != nil {
		log.Fatal(err)
	}
}
