package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/sidecar/calls"
	"rpcpool.dev/tracker"
)

// defaultTrackerListen is where stock trackers listen too.
const defaultTrackerListen = ":9190"

// trackerFlags are the flags of `rpcpool tracker`.
type trackerFlags struct {
	listen      string
	metrics     string
	stopKeyFile string
	fairShare   bool
	maxConns    int
	first       bool
	tls         calls.TLSFiles // of the registry
	token       calls.TokenFile
}

func newTrackerCommand() *cobra.Command {
	var f trackerFlags
	cmd := &cobra.Command{
		Use:   "tracker [flags]",
		Short: "Run a tracker alone",
		Long: `Tracker matches clients that ask for a device key to servers that offer one.
Stock TVM clients, servers and tools use it as they use TVM's own tracker. It
keeps everything in memory: after a restart, servers register again by
themselves and clients ask again; sessions do not pass through it and go on.

On the same port it is the registry of native servers (package rpc/naming). One that
starts in place of another waits for 20 s until all nodes that the other knew have
come back, before it takes in new ones.

It prints the address that it listens on and runs until SIGINT or SIGTERM.`,
		Example: `  # On TVM's usual port, on all addresses
  rpcpool tracker

  # On this machine only, on the first free port of ten, with metrics
  rpcpool tracker --listen 127.0.0.1:9190-9199 --metrics 127.0.0.1:9191`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", defaultTrackerListen, "`HOST:PORT`; port 0: any; a range as in 9190-9199: its first free one")
	flags.StringVar(&f.metrics, "metrics", "", "`HOST:PORT` for /metrics, /healthz and /readyz; empty: none")
	flags.StringVar(&f.stopKeyFile, "stop-key-file", "", "`FILE` with the secret that lets a peer stop the tracker by TVM's STOP message; empty: nobody can")
	flags.BoolVar(&f.fairShare, "fair-share", false,
		"among requests of the same priority, serve the client address that holds the fewest devices first; default: by arrival, as TVM does")
	flags.IntVar(&f.maxConns, "max-connections", tracker.DefaultMaxConns, "close connections beyond this `number` at once")
	addFirstFlag(cmd, &f.first, false)
	f.tls.Flags = "--registry-tls"
	flags.StringVar(&f.tls.Cert, "registry-tls-cert", "", "`FILE` with a certificate, in PEM: clients of the registry must speak TLS, TVM's go on without; it is read again when it changes; empty: no TLS")
	flags.StringVar(&f.tls.Key, "registry-tls-key", "", "`FILE` with the key of --registry-tls-cert, in PEM")
	flags.StringVar(&f.tls.CA, "registry-tls-ca", "", "`FILE` with certificates, in PEM: clients of the registry must have one of these authorities; empty: any client may connect")
	f.token.Flag = "--registry-token-file"
	flags.StringVar(&f.token.Path, "registry-token-file", "", "`FILE` with tokens, one a line: clients of the registry must present one of them, TVM's need none; it is read again when it changes; empty: any client may connect")
	return cmd
}

func addFirstFlag(cmd *cobra.Command, first *bool, is bool) {
	cmd.Flags().BoolVar(first, "first", is, "the registry takes in new nodes at once: there was none before that has nodes still")
}

func (f *trackerFlags) run(cmd *cobra.Command) error {
	log := logger(cmd)
	f.tls.Log, f.token.Log = log, log
	o, err := f.options()
	if err != nil {
		return err
	}
	metered := newRegistry()
	if o.Metrics, err = tracker.NewMetrics(metered); err != nil {
		return err
	}
	o.Logger = log
	token, err := f.token.Demand()
	if err != nil {
		return usageError{err}
	}
	listener, err := listenTracker(f.listen)
	if err != nil {
		return err
	}
	host, err := newHost(f.first, token, metered, o.Logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	o.Native = host.Take
	fmt.Fprintf(cmd.OutOrStdout(), "listening on %s\n", listener.Addr())
	// The listener accepts from here on, so the process is ready as soon as it
	// can say so.
	group, ctx := errgroup.WithContext(cmd.Context())
	ctx, stop := context.WithCancel(ctx)
	group.Go(func() error { return serveMetrics(ctx, f.metrics, metered, metrics.Probes{}, o.Logger) })
	group.Go(func() error {
		defer stop() // a peer may stop the tracker, and then the metrics end too
		return errors.Join(tracker.NewServer(o).Serve(ctx, listener), host.Close())
	})
	return group.Wait()
}

func (f *trackerFlags) options() (tracker.Options, error) {
	o := tracker.Options{FairShare: f.fairShare, MaxConns: f.maxConns}
	if f.maxConns < 1 {
		return o, usageErrorf("--max-connections: %d is not positive", f.maxConns)
	}
	var err error
	if o.NativeTLS, err = f.tls.Server(); err != nil {
		return o, usageError{err}
	}
	if f.stopKeyFile == "" {
		return o, nil
	}
	key, err := os.ReadFile(f.stopKeyFile)
	if err != nil {
		return o, usageErrorf("--stop-key-file: %w", err)
	}
	if o.StopKey = strings.TrimRight(string(key), "\r\n"); o.StopKey == "" {
		return o, usageErrorf("--stop-key-file: %s is empty", f.stopKeyFile)
	}
	return o, nil
}

// listenTracker listens. An address that is none is a wrong flag; one that
// cannot be bound is a failure.
func listenTracker(addr string) (*net.TCPListener, error) {
	if err := checkListen(addr); err != nil {
		return nil, usageErrorf("--listen: address %q: %w", addr, err)
	}
	listener, err := tcp.Listen(addr)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	return listener, nil
}

// checkListen checks the form of HOST:PORT and HOST:FIRST-LAST.
func checkListen(addr string) error {
	_, ports, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("want HOST:PORT: %w", err)
	}
	first, last, isRange := strings.Cut(ports, "-")
	low, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return fmt.Errorf("%q is not a port (0 to 65535)", first)
	}
	if !isRange {
		return nil
	}
	if high, err := strconv.ParseUint(last, 10, 16); err != nil || low == 0 || high < low {
		return fmt.Errorf("%q is not a range of ports", ports)
	}
	return nil
}
