// Command rpcpool-calls-worker is the built-in worker of native calls: a server starts it,
// and it serves the methods of package rpc/worker/builtin. See package rpc/worker for the
// contract.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"rpcpool.dev/internal/version"
	"rpcpool.dev/rpc/worker"
	"rpcpool.dev/rpc/worker/builtin"
)

const usage = `rpcpool-calls-worker runs native calls for the server that starts it. It has the
methods echo, snprintf, sleep and crash, to try a server out.

Usage:
  rpcpool-calls-worker

Examples:
  rpcpool serve --protocol rpc --listen 127.0.0.1:9090 -- rpcpool-calls-worker
  rpcpool call --server 127.0.0.1:9090 snprintf 64 '"The answer is %d"' 42

Flags:
  --version   print the version
  --help      print this
`

// Exit statuses, those of all programs here.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("rpcpool-calls-worker", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	showVersion := flags.Bool("version", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, usage)
		return exitOK
	case err != nil:
		return fail(stderr, exitUsage, fmt.Errorf("%w (see rpcpool-calls-worker --help)", err))
	case *showVersion:
		_, _ = fmt.Fprintln(stdout, version.Get())
		return exitOK
	case flags.NArg() > 0:
		return fail(stderr, exitUsage, fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	case !worker.Inherited():
		return fail(stderr, exitUsage, fmt.Errorf("no calls: it is the command of a server, as in %s",
			"'rpcpool serve --protocol rpc -- rpcpool-calls-worker'"))
	}
	if err := builtin.Serve(context.Background()); err != nil {
		return fail(stderr, exitFailed, err)
	}
	return exitOK
}

// fail prints one line and returns the exit status.
func fail(stderr io.Writer, status int, err error) int {
	_, _ = fmt.Fprintf(stderr, "rpcpool-calls-worker: %v\n", err)
	return status
}
