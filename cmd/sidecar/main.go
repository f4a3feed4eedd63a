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

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/internal/protocol"
	"rpcpool.dev/internal/version"
	"rpcpool.dev/sidecar"
	"rpcpool.dev/sidecar/calls"
)

// Exit statuses, those of all programs here.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

type config struct {
	protocol    protocol.Name
	flags       protocol.Flags
	server      sidecar.Flags      // of protocol tvm
	calls       calls.Flags        // of protocol rpc
	limits      sidecar.LimitFlags // of protocol rpc; the other has them among its own
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
	serve, err := c.serving(stdout, stderr)
	if err != nil {
		return fail(stderr, err, exitUsage)
	}
	if err := serve(ctx); err != nil {
		return fail(stderr, err, exitFailed)
	}
	return exitOK
}

// serving reads the protocol's flags, and returns what serves by them.
func (c *config) serving(stdout, stderr io.Writer) (serve func(context.Context) error, err error) {
	if c.protocol == protocol.RPC {
		return c.serveCalls(stdout, stderr)
	}
	o, err := c.server.Options()
	return func(ctx context.Context) error { return c.serve(ctx, o, stdout, stderr) }, err //nolint:wrapcheck // says it all
}

// fail prints one line and returns the exit status.
func fail(stderr io.Writer, err error, status int) int {
	_, _ = fmt.Fprintf(stderr, "rpcpool-sidecar: %v\n", err)
	return status
}

func (c *config) parse(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("rpcpool-sidecar", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	c.flags, c.protocol = protocol.NewFlags(), protocol.TVM
	c.server.Register(c.flags[protocol.TVM])
	c.calls.Register(c.flags[protocol.RPC])
	c.limits.Register(c.flags[protocol.RPC])
	c.flags.AddTo(flags)
	flags.Var(&c.protocol, "protocol", protocol.Usage)
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
	err := c.flags.Take(c.protocol, func(yield func(string, string)) {
		flags.Visit(func(f *flag.Flag) { yield(f.Name, f.Value.String()) })
	})
	if err != nil {
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
	_, _ = fmt.Fprint(w, `Serve one device, or native calls, with the agent that listens on --agent-socket.

Usage:
  rpcpool-sidecar {--key KEY | --protocol rpc} [flags] [-- CMD ARGS…]

Examples:
  rpcpool-sidecar --key rk3588 --tracker rpcpool-tracker:9190 --agent-socket /run/rpcpool/agent.sock
  rpcpool-sidecar --protocol rpc --workers 4 --journal /run/rpcpool/calls --agent-socket /run/rpcpool/agent.sock

Flags:
`)
	flags.SetOutput(w)
	flags.PrintDefaults()
}

func (c *config) serve(ctx context.Context, o sidecar.Options, stdout, stderr io.Writer) error {
	log := c.logger(stderr)
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
	pages := pages{c.metrics, registry, metrics.Probes{Alive: server.Alive, Ready: server.Ready, Agent: server.AgentAlive}, log}
	return pages.beside(ctx, server.Run)
}

func (c *config) logger(stderr io.Writer) *slog.Logger {
	handler := &slog.HandlerOptions{Level: c.logLevel}
	if c.logFormat == "text" {
		return slog.New(slog.NewTextHandler(stderr, handler))
	}
	return slog.New(slog.NewJSONHandler(stderr, handler))
}

// pages are the metrics and the probes.
type pages struct {
	addr     string
	registry *prometheus.Registry
	probes   metrics.Probes
	log      *slog.Logger
}

// beside serves the pages as long as run runs, which drains when ctx ends. Without them
// it is to end as well.
func (p *pages) beside(ctx context.Context, run func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	var group sync.WaitGroup
	var err error
	group.Go(func() {
		if err = metrics.Serve(serving, p.addr, p.registry, p.probes, p.log); err != nil {
			stop()
		}
	})
	ended := run(ctx)
	stopServing()
	group.Wait()
	return errors.Join(ended, err)
}
