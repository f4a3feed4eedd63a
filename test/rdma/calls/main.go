//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/rdma/mover"
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
	serve, call     string
	device, address string
	fallback        bool
	unprivileged    bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if rpc.IsWorker() {
		return work(ctx)
	}
	var o settings
	flags := flag.NewFlagSet("calls", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.serve, "serve", "", "`HOST:PORT` to serve calls on")
	flags.StringVar(&o.call, "call", "", "`HOST:PORT` of the server to call")
	flags.StringVar(&o.device, "device", "rxe0", "`NAME` of the RDMA device")
	flags.StringVar(&o.address, "address", "127.0.0.1", "`IP` address of the device")
	flags.BoolVar(&o.fallback, "fallback", false, "all bytes must go by TCP, although there is RDMA")
	flags.BoolVar(&o.unprivileged, "unprivileged", false, "do not run as root, and lock no more than 64 KiB of memory")
	if err := flags.Parse(args); err != nil {
		return err
	}
	address, err := netip.ParseAddr(o.address)
	if err != nil {
		return fmt.Errorf("-address: %w", err)
	}
	if o.unprivileged {
		if err := dropPrivileges(); err != nil {
			return err
		}
	}
	adapter, err := open(o.device, address)
	if err != nil {
		return err
	}
	m := &counting{Mover: mover.New(adapter, nil)}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if o.serve != "" {
		return serve(ctx, o.serve, adapter, m, !o.unprivileged, log, stdout)
	}
	return errors.Join(o.calls(ctx, m, log, flags.Args(), stdout), adapter.Close())
}

// calls makes checks, and ends the server.
func (o settings) calls(ctx context.Context, m *counting, log *slog.Logger, names []string, stdout io.Writer) error {
	const limit = 2 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	mode := remote.Required
	if o.fallback {
		mode = remote.Auto
	}
	c, err := rpc.Dial(rpc.ClientOptions{FarBlobs: remote.Options{Mover: m, Mode: mode}, Log: log}, o.call)
	if err != nil {
		return err
	}
	all := &client{Client: c, mover: m, moves: !o.fallback, stdout: stdout}
	for _, name := range names {
		err = errors.Join(err, all.check(ctx, name))
	}
	const enough = 10 * time.Second
	ctx, cancel = context.WithTimeout(ctx, enough)
	defer cancel()
	_, _ = rpc.Call[struct{}](ctx, c, "Quit", struct{}{}) // whoever waits for the server sees whether it has ended
	return errors.Join(err, c.Close())
}
