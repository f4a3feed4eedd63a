package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/rpc/workers/direct"
	"rpcpool.dev/sidecar/calls"
)

// take gives a protocol's flags what was said on the command line.
func (f *serveFlags) take(flags *pflag.FlagSet) error {
	return f.flags.Take(f.protocol, func(yield func(string, string)) { //nolint:wrapcheck // it names the flag
		flags.Visit(func(g *pflag.Flag) { yield(g.Name, g.Value.String()) })
	})
}

// runCalls serves native calls.
func (f *serveFlags) runCalls(cmd *cobra.Command, worker []string) (err error) {
	join, err := f.calls.Join()
	if err != nil {
		return usageError{err}
	}
	o, err := f.calls.Options()
	if err != nil {
		return usageError{err}
	}
	starter, err := direct.New(direct.Command{Path: worker[0], Args: worker[1:], Output: cmd.ErrOrStderr()})
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	defer func() { err = errors.Join(err, starter.Close()) }()
	o.Starter, o.Log = starter, logger(cmd)
	registry := newRegistry()
	if o.Metrics, err = calls.NewMetrics(registry); err != nil {
		return err
	}
	var server callServing
	if join != nil {
		server, err = calls.NewMember(o, *join)
	} else {
		server, err = calls.New(o)
	}
	if err != nil {
		return err
	}
	printListeners(cmd.OutOrStdout(), &o)
	group, ctx := errgroup.WithContext(cmd.Context())
	probes := metrics.Probes{Alive: server.Alive, Ready: server.Ready}
	// The pages are there until the last call has ended.
	pages, closePages := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return serveMetrics(pages, f.metrics, registry, probes, o.Log) })
	group.Go(func() error {
		defer closePages()
		return server.Run(ctx)
	})
	return group.Wait()
}

// callServing is a server of native calls, or one that joins a registry.
type callServing interface {
	Run(ctx context.Context) error
	Alive() error
	Ready() error
}

func printListeners(w io.Writer, o *calls.Options) {
	for _, l := range o.Listeners {
		at := l.Addr().String()
		if l.Addr().Network() == "unix" {
			at = "unix:" + at
		}
		fmt.Fprintf(w, "serving calls on %s\n", at)
	}
}
