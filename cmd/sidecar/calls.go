package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/sidecar/calls/remote"
	"rpcpool.dev/sidecar/supervise"
)

// endTime is how long a sidecar that has drained because its agent is told to stop waits
// to be told so itself. It is not when only the device's container is started anew: then a
// new sidecar serves.
const endTime = 10 * time.Second

// serveCalls reads the flags of protocol rpc, and returns what serves native calls by
// them.
func (c *config) serveCalls(stdout, stderr io.Writer) (func(context.Context) error, error) {
	limits, dump, err := c.limits.Limits()
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	registry, log := metrics.NewRegistry(), c.logger(stderr)
	program, err := c.calls.Program(registry, log)
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	o := program.Options()
	start := supervise.Start{
		Argv: c.command, Env: program.Env(), StartTimeout: o.StartTimeout, KillGrace: o.KillGrace,
		Dump: dump, Limits: limits,
	}
	return func(ctx context.Context) (err error) {
		starter, err := remote.New(remote.Options{Socket: c.agentSocket, Start: start, Log: log})
		if err != nil {
			return errors.Join(err, program.Close())
		}
		defer func() { err = errors.Join(err, starter.Close()) }()
		if err := program.Open(starter); err != nil {
			return err //nolint:wrapcheck // says it all
		}
		for _, at := range program.Addrs() {
			_, _ = fmt.Fprintf(stdout, "serving calls on %s\n", at)
		}
		pages := pages{c.metrics, registry, metrics.Probes{Alive: program.Alive, Ready: program.Ready, Agent: starter.Alive, Blobs: program.BlobsPage(), Calls: program.CallsPage()}, log}
		return pages.beside(ctx, func(ctx context.Context) error { return untilStopped(ctx, starter.Stopping(), program.Run) })
	}, nil
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
