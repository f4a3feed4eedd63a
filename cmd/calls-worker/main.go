// Command rpcpool-calls-worker is the built-in worker of native calls: a server starts it,
// and it serves the methods of package rpc/worker/builtin. See package rpc/worker for the
// contract.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"rpcpool.dev/rpc/worker"
	"rpcpool.dev/rpc/worker/builtin"
)

// Exit statuses, those of all programs here.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	switch {
	case len(args) > 0:
		return fail(stderr, exitUsage, fmt.Errorf("unexpected argument %q", args[0]))
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
