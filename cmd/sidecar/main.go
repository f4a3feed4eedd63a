// Command rpcpool-sidecar is the sidecar alone: the program of the sidecar
// container, whose agent runs in the container beside it and listens on a Unix
// socket in a volume that both mount. On a bare machine `rpcpool serve` runs
// both. Flags and wiring only.
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

	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/internal/version"
	"rpcpool.dev/sidecar"
)

// Exit statuses, those of all programs here.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

type config struct {
	server      sidecar.Flags
	agentSocket string
	command     []string
	metrics     string
	logFormat   string
	logLevel    slog.Level
	version     bool
}

func main() {
	ctx, stop := signals(func(d time.Duration, f func()) { time.AfterFunc(d, f) })
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// secondSignalGrace is how long after the first signal another one means the
// same: who signals a process and its group delivers it twice.
const secondSignalGrace = time.Second

// signals returns a context that ends with the first SIGINT or SIGTERM. A later
// one ends the process at once, but not within [secondSignalGrace]. after is
// time.AfterFunc.
//
// A device must not go away with the reader of its log either. Writes there
// fail instead of ending the process.
func signals(after func(time.Duration, func())) (ctx context.Context, stop func()) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { after(secondSignalGrace, stop) })
	return ctx, stop
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c config
	switch err := c.parse(args, stderr); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return fail(stderr, err, exitUsage)
	case c.version:
		_, _ = fmt.Fprintln(stdout, version.Get())
		return exitOK
	}
	o, err := c.server.Options()
	if err != nil {
		return fail(stderr, err, exitUsage)
	}
	if err := c.serve(ctx, o, stdout, stderr); err != nil {
		return fail(stderr, err, exitFailed)
	}
	return exitOK
}

// fail prints one line and returns the exit status.
func fail(stderr io.Writer, err error, status int) int {
	_, _ = fmt.Fprintf(stderr, "rpcpool-sidecar: %v\n", err)
	return status
}

func (c *config) parse(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("rpcpool-sidecar", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	c.server.Register(flags)
	flags.StringVar(&c.agentSocket, "agent-socket", "/run/rpcpool/agent.sock", "`path` of the agent's Unix socket")
	flags.StringVar(&c.metrics, "metrics", "0.0.0.0:9191", "`HOST:PORT` for /metrics, /healthz and /readyz; empty: none")
	flags.StringVar(&c.logFormat, "log-format", "json", "text or json")
	flags.TextVar(&c.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.BoolVar(&c.version, "version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			usage(flags, stderr)
		}
		return err //nolint:wrapcheck // says it all
	}
	c.command = flags.Args() // empty: the agent's default
	if err := metrics.CheckAddr(c.metrics); err != nil {
		return fmt.Errorf("--metrics: %w", err)
	}
	if c.agentSocket == "" {
		return errors.New("--agent-socket: want a path")
	}
	if c.logFormat != "text" && c.logFormat != "json" {
		return fmt.Errorf("--log-format: %q: want text or json", c.logFormat)
	}
	return nil
}

func usage(flags *flag.FlagSet, w io.Writer) {
	_, _ = fmt.Fprint(w, `Serve one device, with the agent that listens on --agent-socket.

Usage:
  rpcpool-sidecar --key KEY [flags] [-- CMD ARGS…]

Example:
  rpcpool-sidecar --key rk3588 --tracker rpcpool-tracker:9190 --agent-socket /run/rpcpool/agent.sock

Flags:
`)
	flags.SetOutput(w)
	flags.PrintDefaults()
}

func (c *config) serve(ctx context.Context, o sidecar.Options, stdout, stderr io.Writer) error {
	handler := &slog.HandlerOptions{Level: c.logLevel}
	log := slog.New(slog.NewJSONHandler(stderr, handler))
	if c.logFormat == "text" {
		log = slog.New(slog.NewTextHandler(stderr, handler))
	}
	registry := metrics.NewRegistry()
	o.Logger, o.AgentSocket, o.Command = log, c.agentSocket, c.command
	var err error
	if o.Metrics, err = sidecar.NewMetrics(registry); err != nil {
		return err //nolint:wrapcheck // says it all
	}
	server, err := sidecar.New(o)
	if err != nil {
		return errors.Join(err, o.Listener.Close())
	}
	_, _ = fmt.Fprintf(stdout, "serving %s on %s\n", o.Key, server.Addr())
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Probes and scrapes are answered as long as the server drains.
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	var group sync.WaitGroup
	var metricsErr error
	group.Go(func() {
		probes := metrics.Probes{Alive: server.Alive, Ready: server.Ready, Agent: server.AgentAlive}
		if metricsErr = metrics.Serve(serving, c.metrics, registry, probes, log); metricsErr != nil {
			stop()
		}
	})
	err = server.Run(ctx)
	stopServing()
	group.Wait()
	return errors.Join(err, metricsErr)
}
