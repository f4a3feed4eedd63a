// Command rpcpool-worker is the built-in worker: TVM's session loop in Go, with
// the functions of the tuning example. An agent starts it and hands it one
// session, or in Watchdog isolation one after another; see package worker for
// the contract and the exit statuses.
package main

import (
	"flag"
	"fmt"
	"os"

	worker "rpcpool.dev/workers/go"
	"rpcpool.dev/workers/go/builtin"
)

func main() { os.Exit(run(os.Args)) }

func run(args []string) int {
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "Usage: %s [flags], as the command of a server:\n\n"+
			"  rpcpool serve --key KEY --listen :9090 --tracker HOST:9190 -- rpcpool-worker\n\nFlags:\n", args[0])
		flags.PrintDefaults()
	}
	flavour := flags.String("flavour", "C", "TVM `session protocol`: A (v0.8 to v0.20), B (v0.21) or C (since v0.22)")
	tests := flags.Bool("test-functions", false, "offer functions that crash, hang and misbehave (test.*)")
	switch err := flags.Parse(args[1:]); {
	case err == flag.ErrHelp: //nolint:errorlint // the package returns it bare
		return worker.ExitOK
	case err != nil:
		return worker.ExitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "rpcpool-worker: unexpected argument %q\n", flags.Arg(0))
		return worker.ExitUsage
	}
	s, err := builtin.New(*flavour, *tests)
	if err != nil {
		fmt.Fprintf(os.Stderr, "rpcpool-worker: %v\n", err)
		return worker.ExitUsage
	}
	return worker.Main(s)
}
