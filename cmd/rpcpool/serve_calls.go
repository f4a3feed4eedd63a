package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/rpc/workers/direct"
)

// take gives a protocol's flags what was said on the command line.
func (f *serveFlags) take(flags *pflag.FlagSet) error {
	return f.flags.Take(f.protocol, func(yield func(string, string)) { //nolint:wrapcheck // it names the flag
		flags.Visit(func(g *pflag.Flag) { yield(g.Name, g.Value.String()) })
	})
}

// runCalls serves native calls.
func (f *serveFlags) runCalls(cmd *cobra.Command, worker []string) (err error) {
	registry, log := newRegistry(), logger(cmd)
	program, err := f.calls.Program(registry, log)
	if err != nil {
		return usageError{err}
	}
	starter, err := direct.New(direct.Command{
		Path: worker[0], Args: worker[1:], Env: program.Env(), Output: cmd.ErrOrStderr(),
	})
	if err != nil {
		return errors.Join(fmt.Errorf("worker: %w", err), program.Close())
	}
	defer func() { err = errors.Join(err, starter.Close()) }()
	if err := program.Open(starter); err != nil {
		return err
	}
	for _, at := range program.Addrs() {
		fmt.Fprintf(cmd.OutOrStdout(), "serving calls on %s\n", at)
	}
	group, ctx := errgroup.WithContext(cmd.Context())
	probes := metrics.Probes{Alive: program.Alive, Ready: program.Ready, Blobs: program.BlobsPage(), Calls: program.CallsPage()}
	// The pages are there until the last call has ended.
	pages, closePages := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return serveMetrics(pages, f.metrics, registry, probes, log) })
	group.Go(func() error {
		defer closePages()
		return program.Run(ctx)
	})
	return group.Wait()
}
