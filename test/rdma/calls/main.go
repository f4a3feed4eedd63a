//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/keeper"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "calls: %v\n", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	server, pages string
	tcp           bool
	unprivileged  bool
	lives         int
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if rpc.IsWorker() {
		return work(ctx)
	}
	var o settings
	flags := flag.NewFlagSet("calls", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.server, "server", "", "`HOST:PORT` of the server to call")
	flags.StringVar(&o.pages, "pages", "", "`HOST:PORT` of the server's metrics")
	flags.BoolVar(&o.tcp, "tcp", false, "all bytes must go by TCP, although this machine has RDMA")
	flags.BoolVar(&o.unprivileged, "unprivileged", false, "run a program as a user who may lock no more than 64 KiB of memory")
	flags.IntVar(&o.lives, "lives", 0, "run a program `times`: again when it was killed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case o.unprivileged:
		return unprivileged(flags.Args())
	case o.lives > 0:
		return lives(ctx, o.lives, flags.Args())
	}
	return o.calls(ctx, flags.Args(), stdout, stderr)
}

// silence is how long a peer may be silent. Machines that are emulated on a busy one stand
// still for longer than a network would.
const silence = 2 * time.Second

// calls makes checks. When they are over, nothing is left.
func (o settings) calls(ctx context.Context, names []string, stdout, stderr io.Writer) error {
	const limit = 4 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	log := &witness{Handler: slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})}
	k, err := keeper.Open(keeper.Options{
		Promise: device.Promise{Mode: device.Required}, Adapter: keeper.Patient(silence), Log: slog.New(log),
	})
	if err != nil {
		return err
	}
	c := &client{settings: o, keeper: k, log: log, stdout: stdout}
	for _, name := range names {
		err = errors.Join(err, c.check(ctx, name))
	}
	err = errors.Join(err, k.Close())
	if n := k.Status().Counts; n.Registered != 0 || n.Queues != 0 || n.Stuck != 0 {
		err = errors.Join(err, fmt.Errorf("left at the client: %+v", n))
	}
	return err
}

// client is what makes calls.
type client struct {
	settings
	keeper *keeper.Keeper
	log    *witness
	stdout io.Writer
}

// witness is a log that notes why bytes went by TCP.
type witness struct {
	slog.Handler

	mu      sync.Mutex
	reasons map[string]int
}

// Handle implements [slog.Handler].
func (w *witness) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "reason" {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.reasons == nil {
				w.reasons = map[string]int{}
			}
			w.reasons[a.Value.String()]++
		}
		return true
	})
	return w.Handler.Handle(ctx, r)
}

// seen tells how often bytes went by TCP for a reason.
func (w *witness) seen(reason string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reasons[reason]
}

// dial makes a client: whose bytes must go by RDMA, or which may do without.
func (c *client) dial(mode remote.MoverMode) (*rpc.Client, error) {
	const retry = 3 * time.Second // of transfers, while nobody is there
	return rpc.Dial(rpc.ClientOptions{
		FarBlobs: remote.Options{Mover: c.keeper, Mode: mode, Retry: retry}, Log: slog.New(c.log),
	}, c.server)
}

// with makes a client for something.
func (c *client) with(mode remote.MoverMode, do func(*rpc.Client) error) error {
	r, err := c.dial(mode)
	if err != nil {
		return err
	}
	return errors.Join(do(r), r.Close())
}

// check makes one check, and prints how it went.
func (c *client) check(ctx context.Context, name string) error {
	do, known := checks[name]
	if !known {
		return fmt.Errorf("there is no check %q", name)
	}
	start := time.Now()
	mode := remote.Required
	if c.tcp || do.breaks {
		mode = remote.Auto
	}
	err := c.with(mode, func(r *rpc.Client) error { return do.check(ctx, c, r) })
	verdict := "PASS"
	if err != nil {
		verdict = "FAIL"
		fmt.Fprintf(c.stdout, "%s: %v\n", name, err)
	}
	fmt.Fprintf(c.stdout, "--- %s: %s (%.2fs)\n", verdict, name, time.Since(start).Seconds())
	return err
}
