// Command rpcpool-manager is the operator: it reconciles RPCPools and runs the
// trackers that their servers register with. Flags and wiring only; package
// [rpcpool.dev/controllers] has the rest.
//
// Exit status: 0 stopped in order, 1 failed or leads no more, 2 wrong usage.
// Logs go to stderr.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"rpcpool.dev/internal/version"
)

// Exit statuses, those of all programs here.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// gcPercent lets the heap grow less between two collections than Go's default:
// it is the pods of the caches, which stay, and nobody waits for this process.
const gcPercent = 25

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return fail(stderr, err, exitUsage)
	case c.version:
		_, _ = fmt.Fprintln(stdout, version.Get())
		return exitOK
	}
	if err := c.manage(ctx, stderr); err != nil {
		return fail(stderr, err, exitFailed)
	}
	return exitOK
}

// fail prints one line and returns the exit status.
func fail(stderr io.Writer, err error, status int) int {
	_, _ = fmt.Fprintf(stderr, "rpcpool-manager: %v\n", err)
	return status
}
