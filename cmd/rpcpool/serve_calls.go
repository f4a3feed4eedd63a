package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/rpc/workers/direct"
	"rpcpool.dev/sidecar/calls"
)

// protocol is the value of --protocol.
type protocol string

const (
	protocolTVM protocol = "tvm"
	protocolRPC protocol = "rpc"
)

func (p *protocol) String() string { return string(*p) }

// Type is what --help shows as the flag's value.
func (p *protocol) Type() string { return "tvm|rpc" }

// Set parses the flag's value.
func (p *protocol) Set(s string) error {
	if s != string(protocolTVM) && s != string(protocolRPC) {
		return errors.New("want tvm or rpc")
	}
	*p = protocol(s)
	return nil
}

// protocolFlags are the flags of each protocol. Some names are in both.
type protocolFlags map[protocol]*flag.FlagSet

func newProtocolFlags() protocolFlags {
	return protocolFlags{
		protocolTVM: flag.NewFlagSet(string(protocolTVM), flag.ContinueOnError),
		protocolRPC: flag.NewFlagSet(string(protocolRPC), flag.ContinueOnError),
	}
}

// add adds all flags to a command's. What both have is TVM's there; take gives it to
// the other.
func (p protocolFlags) add(flags *pflag.FlagSet) {
	flags.AddGoFlagSet(p[protocolTVM])
	p[protocolRPC].VisitAll(func(f *flag.Flag) {
		if flags.Lookup(f.Name) == nil {
			f.Usage = "with --protocol rpc: " + f.Usage
			flags.AddGoFlag(f)
		}
	})
}

// take gives a protocol's flags what was said on the command line. A flag that only
// another protocol has is an error.
func (p protocolFlags) take(of protocol, flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		for other, set := range p {
			if other != of && set.Lookup(f.Name) != nil && p[of].Lookup(f.Name) == nil {
				err = fmt.Errorf("--%s: is for --protocol %s", f.Name, other)
			}
		}
		if err == nil && p[of].Lookup(f.Name) != nil {
			err = p[of].Set(f.Name, f.Value.String())
		}
	})
	return err
}

// runCalls serves native calls.
func (f *serveFlags) runCalls(cmd *cobra.Command, worker []string) (err error) {
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
	server, err := calls.New(o)
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

func printListeners(w io.Writer, o *calls.Options) {
	for _, l := range o.Listeners {
		at := l.Addr().String()
		if l.Addr().Network() == "unix" {
			at = "unix:" + at
		}
		fmt.Fprintf(w, "serving calls on %s\n", at)
	}
}
