package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/internal/metrics"
)

// newRegistry returns the registry that every subcommand with --metrics fills:
// its own, with the collectors of the Go runtime, the process and the build.
func newRegistry() *prometheus.Registry {
	return metrics.NewRegistry()
}

// serveMetrics serves /metrics, /healthz and /readyz on addr until ctx ends,
// and then returns nil. It blocks; an empty addr serves nothing and waits for
// ctx, so that callers need no special case.
func serveMetrics(
	ctx context.Context, addr string, reg *prometheus.Registry, probes metrics.Probes, log *slog.Logger,
) error {
	return metrics.Serve(ctx, addr, reg, probes, log)
}
