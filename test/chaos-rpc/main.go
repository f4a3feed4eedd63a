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

	"rpcpool.dev/rpc/worker"
	"rpcpool.dev/test/internal/program"
)

func main() {
	if ran, err := child(os.Args[1:]); ran {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(program.Failed)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := program.Run(ctx, "chaos-rpc", &settings{}, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// child is what this program is when it has started itself.
func child(args []string) (ran bool, err error) {
	switch {
	case worker.Inherited():
		return true, work()
	case len(args) == 4 && args[0] == "serve":
		return true, serve(args[1], args[2], args[3])
	case len(args) >= 6 && args[0] == "demand":
		return true, demand(args[1], args[2], args[3], args[4], args[5:])
	}
	return false, nil
}

// settings are the flags.
type settings struct {
	calls, servers, clients, workers int
	seed                             uint64
	limit, slack                     time.Duration
	dir                              string
}

// Register implements [program.Settings].
func (o *settings) Register(flags *flag.FlagSet) {
	flags.IntVar(&o.calls, "calls", 200_000, "`number` of calls")
	flags.IntVar(&o.servers, "servers", 3, "`number` of server processes")
	flags.IntVar(&o.clients, "clients", 3, "`number` of client processes")
	flags.IntVar(&o.workers, "workers", 24, "`number` of goroutines that call, of each client")
	flags.Uint64Var(&o.seed, "seed", rand.Uint64N(1<<32), "`SEED` of what is called, and what is done to whom") //nolint:gosec // it is printed
	flags.DurationVar(&o.limit, "limit", time.Hour, "no more calls after so long")
	flags.DurationVar(&o.slack, "slack", 250*time.Millisecond, "how long a handler may wait for a processor")
	flags.StringVar(&o.dir, "keep", "", "`DIR` that the history is kept in; default: it is not kept")
}

// Check implements [program.Settings].
func (o *settings) Check() error {
	if o.calls < 1 || o.servers < 1 || o.clients < 1 || o.workers < 1 || o.limit <= 0 {
		return errors.New("all numbers must be positive")
	}
	return nil
}

// Run implements [program.Settings].
func (o *settings) Run(ctx context.Context, stdout, _ io.Writer) error {
	dir := o.dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "chaos-rpc"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "seed %d\n", o.seed)
	began := time.Now()
	h, hits, err := (&fleet{settings: o, dir: dir}).run(ctx)
	if err != nil {
		return err
	}
	f := check(h)
	f.print(stdout, hits, time.Since(began))
	if n := len(f.broken); n > 0 {
		return fmt.Errorf("%d promises were broken", n)
	}
	return nil
}
