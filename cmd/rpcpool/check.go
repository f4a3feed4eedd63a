package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rpcpool.dev/internal/metrics"
)

const flagMetrics = "metrics"

// server prepares a command that serves others until it is told to stop: it
// does not die with the reader of its output.
func server(cmd *cobra.Command) *cobra.Command {
	inner := checked(cmd).PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		outliveBrokenPipes()
		return inner(cmd, args)
	}
	return cmd
}

// checked has a command refuse, before it does anything, values that no flag
// of their kind can have.
func checked(cmd *cobra.Command) *cobra.Command {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return checkFlags(cmd.Flags()) }
	return cmd
}

// checkFlags reports the first flag, by name, whose value cannot be: times are
// not negative, and metrics have an address.
func checkFlags(flags *pflag.FlagSet) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		if err != nil {
			return
		}
		if f.Value.Type() == "duration" {
			if d, parseErr := time.ParseDuration(f.Value.String()); parseErr == nil && d < 0 {
				err = fmt.Errorf("--%s: %s is negative", f.Name, d)
			}
		}
		if f.Name == flagMetrics {
			if addrErr := metrics.CheckAddr(f.Value.String()); addrErr != nil {
				err = fmt.Errorf("--%s: %w", f.Name, addrErr)
			}
		}
	})
	return err
}
