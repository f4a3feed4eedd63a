package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/internal/protocol"
	"rpcpool.dev/sidecar"
	"rpcpool.dev/sidecar/calls"
)

// serveFlags are the flags of `rpcpool serve`: of both protocols.
type serveFlags struct {
	protocol protocol.Name
	flags    protocol.Flags
	server   sidecar.Flags // of protocol tvm
	calls    calls.Flags   // of protocol rpc
	metrics  string
	agent    string
	dataDir  string
	noCgroup bool
	coreDir  string
}

func newServeCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve {--key KEY | --protocol rpc} --listen HOST:PORT [flags] -- CMD ARGS…",
		Short: "Serve one device, or native calls, on this machine, in worker processes",
		Long: `Serve runs the RPC server of one device: it registers with a tracker, shakes
hands with clients, and runs each session in a worker process of its own, with a
deadline. CMD is the worker (see docs/architecture.md for its contract). However
a worker ends, the device is offered again.

With --isolation watchdog one long-lived worker serves the sessions itself, ends
by itself at a session's deadline, and is started again. Heartbeats and the
budgets of phases need a worker that tells of them; the limits hold for any, as
far as this machine can enforce them.

Without --tracker, clients connect with the device key itself and are served in
turn.

With --protocol rpc it serves native calls: --workers processes of CMD run them,
--concurrency at a time in each. A call's worker may crash, or be killed because
the call outlives its time: the caller learns what is known of it, and another
worker takes over. No call runs twice unless it is idempotent; with --journal that
holds over a crash of the server too. On SIGTERM calls that run may end, for 30 s
unless --drain-timeout says otherwise; others are refused. With --tracker clients
find the server by its --service; its --name must then be its own. What
--tcp-…, --tls-…, --token-file, --allow-file, --connect-timeout, --bind, --blob-… and --rdma-… do not say may be in
the environment: RPCPOOL_TLS_CERT is for --tls-cert. docs/rpc-serve.md has more.`,
		Example: `  # Serve this machine's CPU with the built-in worker
  rpcpool serve --key cpu --listen 0.0.0.0:9090 --tracker 127.0.0.1:9190 -- rpcpool-worker

  # Serve a board with TVM in Python
  rpcpool serve --key rk3588 --listen 0.0.0.0:9090 --tracker tracker:9190 -- python3 /opt/rpcpool/worker.py

  # One worker for all sessions, which may use two cores and 4 GiB and must not hang
  rpcpool serve --key cpu --isolation watchdog --heartbeat 5s --limit-cpu 2 --limit-memory 4Gi -- rpcpool-worker

  # Four workers for native calls
  rpcpool serve --protocol rpc --listen 127.0.0.1:9090 --workers 4 --journal /var/lib/rpcpool/calls -- rpcpool worker --calls

  # One that clients find by name
  rpcpool serve --protocol rpc --tracker tracker:9190 --service library -- rpcpool worker --calls`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageErrorf("no worker: give its program and arguments after --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, args)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *serveFlags) register(cmd *cobra.Command) {
	f.flags, f.protocol = protocol.NewFlags(), protocol.TVM
	f.calls.Register(f.flags[protocol.RPC])
	tvm := f.flags[protocol.TVM]
	f.server.Register(tvm)
	tvm.StringVar(&f.agent, "agent", "", "`PATH` of "+sidecar.AgentProgram+"; empty: beside this program, else in PATH")
	tvm.StringVar(&f.dataDir, "data-dir", "", "`DIR` for sockets and work directories, private to this server; empty: a temporary one")
	tvm.StringVar(&f.coreDir, "core-dir", "", "`DIR` in which the latest core dumps of workers are kept; empty: they go with the work directory")
	tvm.BoolVar(&f.noCgroup, "no-cgroup", false, "do not use cgroups even where they are writable")
	flags := cmd.Flags()
	all := flag.NewFlagSet("", flag.ContinueOnError)
	f.flags.AddTo(all)
	flags.AddGoFlagSet(all)
	flags.Var(&f.protocol, "protocol", protocol.Usage)
	flags.StringVar(&f.metrics, "metrics", "", "`HOST:PORT` for /metrics, /healthz and /readyz; empty: none")
}

func (f *serveFlags) run(cmd *cobra.Command, worker []string) (err error) {
	if err := f.take(cmd.Flags()); err != nil {
		return usageError{err}
	}
	if worker[0], err = findWorker(worker[0]); err != nil {
		return usageErrorf("worker: %w", err)
	}
	if f.protocol == protocol.RPC {
		return f.runCalls(cmd, worker)
	}
	return f.runSessions(cmd, worker)
}

// runSessions serves a device to TVM's clients.
func (f *serveFlags) runSessions(cmd *cobra.Command, worker []string) (err error) {
	o, err := f.server.Options()
	if err != nil {
		return usageError{err}
	}
	server, agent, cleanup, err := f.build(cmd, o, worker)
	if err != nil {
		return errors.Join(err, o.Listener.Close())
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	fmt.Fprintf(cmd.OutOrStdout(), "serving %s on %s\n", o.Key, server.Addr())
	group, ctx := errgroup.WithContext(cmd.Context())
	probes := metrics.Probes{Alive: server.Alive, Ready: server.Ready, Agent: server.AgentAlive}
	group.Go(func() error { return serveMetrics(ctx, f.metrics, server.registry, probes, agent.Logger) })
	group.Go(func() error { return sidecar.RunWithAgent(ctx, server.Server, agent) })
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// build makes the server and says how to run its agent.
func (f *serveFlags) build(cmd *cobra.Command, o sidecar.Options, worker []string) (
	*meteredServer, sidecar.AgentOptions, func() error, error,
) {
	agent := sidecar.AgentOptions{Path: f.agent, Args: agentLogArgs(cmd), Logger: logger(cmd)}
	if f.noCgroup {
		agent.Args = append(agent.Args, "--no-cgroup")
	}
	if f.coreDir != "" {
		agent.Args = append(agent.Args, "--core-dir", f.coreDir)
	}
	var err error
	if agent.Path == "" {
		if agent.Path, err = sidecar.FindProgram(sidecar.AgentProgram); err != nil {
			return nil, agent, nil, fmt.Errorf("--agent: %w", err)
		}
	}
	s := &meteredServer{registry: newRegistry()}
	if o.Metrics, err = sidecar.NewMetrics(s.registry); err != nil {
		return nil, agent, nil, err
	}
	dir, cleanup, err := dataDir(f.dataDir)
	if err != nil {
		return nil, agent, nil, err
	}
	agent.Dir = dir
	o.Logger, o.AgentSocket, o.Command = agent.Logger, agent.Socket(), worker
	if s.Server, err = sidecar.New(o); err != nil {
		return nil, agent, nil, errors.Join(err, cleanup())
	}
	return s, agent, cleanup, nil
}

// meteredServer is a server and the registry that its metrics are in.
type meteredServer struct {
	*sidecar.Server
	registry *prometheus.Registry
}

// dataDir returns a private directory, locked for this process, and how to
// leave it.
func dataDir(dir string) (path string, cleanup func() error, err error) {
	leave := func() error { return nil }
	if dir == "" {
		if dir, err = os.MkdirTemp("", "rpcpool-"); err != nil {
			return "", nil, fmt.Errorf("data directory: %w", err)
		}
		leave = func() error { return os.RemoveAll(dir) }
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return "", nil, errors.Join(err, leave())
	}
	return dir, func() error { return errors.Join(leave(), lock.Close()) }, nil
}

// lockDir keeps a second server from taking the first one's agent. The lock
// goes with the process, however it ends.
func lockDir(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s is in use by another server", dir), lock.Close())
	}
	return lock, nil
}
