package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/rpc/accumulator/remote"
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
	registry := newRegistry()
	o.Log = logger(cmd)
	command := direct.Command{Path: worker[0], Args: worker[1:], Output: cmd.ErrOrStderr()}
	acc, err := f.accumulators(registry, o.Log)
	if err != nil {
		return err
	}
	if acc != nil {
		defer func() { err = errors.Join(err, acc.Close()) }()
		command.Env = append(command.Env, remote.Variable+"="+acc.Address())
	}
	starter, err := direct.New(command)
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	defer func() { err = errors.Join(err, starter.Close()) }()
	o.Starter = starter
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
	if acc != nil { // until the last worker has had its word
		group.Go(func() error { return acc.Run(pages) })
	}
	group.Go(func() error {
		defer closePages()
		return server.Run(ctx)
	})
	return group.Wait()
}

// accumulators opens what workers write to, nil if they do not.
func (f *serveFlags) accumulators(metrics prometheus.Registerer, log *slog.Logger) (*calls.Accumulators, error) {
	l, err := f.calls.ListenAccumulators()
	if err != nil {
		return nil, usageError{err}
	}
	if l == nil {
		return nil, nil
	}
	acc, err := calls.NewAccumulators(l, metrics, log)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return acc, nil
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
