package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/sidecar/calls"
	"rpcpool.dev/sidecar/calls/remote"
	"rpcpool.dev/sidecar/supervise"
)

const (
	// reapTime is how long a worker may outlive SIGKILL before the agent says so.
	reapTime = 10 * time.Second
	// endTime is how long a sidecar that has drained because its agent is told to stop
	// waits to be told so itself. It is not when only the device's container is started
	// anew: then a new sidecar serves.
	endTime = 10 * time.Second
)

// serveCalls reads the flags of protocol rpc, and returns what serves native calls by
// them.
func (c *config) serveCalls(stdout, stderr io.Writer) (func(context.Context) error, error) {
	limits, dump, err := c.limits.Limits()
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	o, err := c.calls.Options()
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	start := supervise.Start{
		Argv: c.command, StartTimeout: o.StartTimeout, KillGrace: o.KillGrace, ReapTimeout: reapTime, Dump: dump, Limits: limits,
	}
	return func(ctx context.Context) error { return c.runCalls(ctx, o, start, stdout, stderr) }, nil
}

func (c *config) runCalls(ctx context.Context, o calls.Options, start supervise.Start, stdout, stderr io.Writer) (err error) {
	o.Log = c.logger(stderr)
	starter, err := remote.New(remote.Options{Socket: c.agentSocket, Start: start, Log: o.Log})
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	defer func() { err = errors.Join(err, starter.Close()) }()
	o.Starter = starter
	registry := metrics.NewRegistry()
	if o.Metrics, err = calls.NewMetrics(registry); err != nil {
		return err //nolint:wrapcheck // says it all
	}
	server, err := calls.New(o)
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	for _, l := range o.Listeners {
		_, _ = fmt.Fprintf(stdout, "serving calls on %s\n", l.Addr())
	}
	pages := pages{c.metrics, registry, metrics.Probes{Alive: server.Alive, Ready: server.Ready, Agent: starter.Alive}, o.Log}
	return pages.beside(ctx, func(ctx context.Context) error { return untilStopped(ctx, starter.Stopping(), server.Run) })
}

// untilStopped runs a server until ctx ends or its agent is told to stop, which in a pod
// comes first: the agent stays until its workers have ended, and the server has them
// end when their calls have.
func untilStopped(ctx context.Context, agentStops <-chan struct{}, run func(context.Context) error) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-agentStops:
			stop()
		case <-serving.Done():
		}
	}()
	if err := run(serving); err != nil || ctx.Err() != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(endTime):
	}
	return nil
}
