//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// usageError is a mistake in the command line.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// errBroken says that promises were broken; which is printed already.
var errBroken = errors.New("promises were broken")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, o.limit)
		defer cancel()
		err = o.run(ctx, stdout, stderr)
	}
	var wrong usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "chaos: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "chaos: %v\n", err)
		return exitFailed
	}
}

// options are the flags.
type options struct {
	sessions, servers, clients int
	seed                       uint64
	isolation                  string
	killEvery, limit           time.Duration
	bin, json                  string
	keep                       bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.sessions, "sessions", 2000, "`number` of sessions")
	flags.Uint64Var(&o.seed, "seed", rand.Uint64N(1<<32), "`SEED` of the programs and of the choices whom to kill") //nolint:gosec // it is printed
	flags.IntVar(&o.servers, "servers", 8, "`number` of devices")
	flags.IntVar(&o.clients, "clients", 20, "`number` of clients")
	flags.StringVar(&o.isolation, "isolation", "mixed", "how workers are run: fork, cold, watchdog or mixed")
	flags.DurationVar(&o.killEvery, "kill-every", 400*time.Millisecond, "mean time between two kills; 0: none")
	flags.StringVar(&o.bin, "bin", "bin", "`DIR` of the programs; if it has none, they are built")
	flags.StringVar(&o.json, "json", "", "`FILE` to write the result to as JSON")
	flags.BoolVar(&o.keep, "keep", false, "keep the logs and the ground truth")
	flags.DurationVar(&o.limit, "limit", 30*time.Minute, "give up after so long")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err //nolint:wrapcheck // says it all
		}
		return o, usageError{err.Error()}
	}
	const most = 16 << 20 // addresses
	switch {
	case flags.NArg() > 0:
		return o, usageError{fmt.Sprintf("unexpected argument %q", flags.Arg(0))}
	case o.sessions < 1 || o.sessions > most:
		return o, usageError{fmt.Sprintf("-sessions %d is not between 1 and %d", o.sessions, most)}
	case o.servers < 1, o.clients < 1:
		return o, usageError{"-servers and -clients must be positive"}
	case o.killEvery < 0, o.limit <= 0:
		return o, usageError{"-kill-every must not be negative, -limit must be positive"}
	}
	return o, nil
}
