package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/local"
	"rpcpool.dev/internal/manifest"
	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/sidecar"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// localFlags are the flags of `rpcpool local`.
type localFlags struct {
	files   []string
	metrics string
	dataDir string
	agent   string
	first   bool
	output  outputFormat
}

func newLocalCommand() *cobra.Command {
	var f localFlags
	cmd := &cobra.Command{
		Use:   "local -f FILE [flags]",
		Short: "Run the pools of RPCPool manifests on this machine",
		Long: `Local reads RPCPool manifests, as a cluster would, and runs them as processes on
this machine: a tracker for each tracker name, and for each pool as many servers
as it has replicas, each with its own agent. Everything listens on 127.0.0.1. The
tracker takes spec.tracker.port; the servers of a pool take spec.server.port and
the ports that follow, without those that an earlier pool has.

Of a template, the device container's command, args and literal environment are
used; no container is started. It runs until SIGINT or SIGTERM, and ends sessions and
calls then at once.

Native servers (rpcpool serve --protocol rpc --tracker) find their registry on the
port of a tracker here, as they do with rpcpool tracker.`,
		Example: `  # A tracker on 127.0.0.1:9190 and four servers on 127.0.0.1:9090 to 9093
  rpcpool local -f config/samples/rpcpool-local.yaml

  # With metrics, and a manifest from standard input
  rpcpool local -f - --metrics 127.0.0.1:9191 < pool.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files, "filename", "f", nil, "`FILE` with manifests; - is standard input; may be given more than once")
	flags.StringVar(&f.metrics, "metrics", "", "`HOST:PORT` for /metrics, /healthz and /readyz; empty: none")
	flags.StringVar(&f.dataDir, "data-dir", "", "`DIR` for sockets and work directories, private to this command; empty: a temporary one")
	flags.StringVar(&f.agent, "agent", "", "`PATH` of "+sidecar.AgentProgram+"; empty: beside this program, else in PATH")
	addFirstFlag(cmd, &f.first, true)
	addOutputFlag(cmd, &f.output)
	if err := cmd.MarkFlagRequired("filename"); err != nil {
		panic(err) // the flag is added above
	}
	return cmd
}

func (f *localFlags) run(cmd *cobra.Command) (err error) {
	pools, err := manifest.Load(f.files, cmd.InOrStdin())
	if err != nil {
		return usageError{err}
	}
	plan, err := local.NewPlan(pools, findWorker)
	if err != nil {
		return usageError{err}
	}
	parts, err := f.parts(logger(cmd))
	if err != nil {
		return err
	}
	dir, cleanup, err := dataDir(f.dataDir)
	if err != nil {
		return err
	}
	parts.dir, parts.agentArgs = dir, agentLogArgs(cmd)
	defer func() { err = errors.Join(err, cleanup()) }()
	for _, note := range plan.Notes {
		parts.log.Warn(note)
	}
	return f.serve(cmd, plan, parts)
}

// serve runs the plan and the metrics until one of them ends.
func (f *localFlags) serve(cmd *cobra.Command, plan local.Plan, parts *localParts) error {
	group, ctx := errgroup.WithContext(cmd.Context())
	ctx, stop := context.WithCancel(ctx)
	group.Go(func() error {
		ready := func() error { return parts.ready(len(plan.Servers)) }
		return serveMetrics(ctx, f.metrics, parts.registry, metrics.Probes{Ready: ready, Calls: parts.callsPage()}, parts.log)
	})
	group.Go(func() error {
		defer stop()
		return local.Run(ctx, plan, parts, func() {
			if err := printData(cmd.OutOrStdout(), f.output, plan, plan.WriteTable); err != nil {
				parts.log.Error("print the plan", "error", err)
			}
		})
	})
	return group.Wait()
}

func (f *localFlags) parts(log *slog.Logger) (*localParts, error) {
	p := &localParts{log: log, registry: newRegistry(), agent: f.agent, first: f.first}
	var err error
	if p.agent == "" {
		if p.agent, err = sidecar.FindProgram(sidecar.AgentProgram); err != nil {
			return nil, fmt.Errorf("--agent: %w", err)
		}
	}
	if p.metrics, err = sidecar.NewMetrics(p.registry); err != nil {
		return nil, err
	}
	return p, nil
}

// findWorker finds the program of a worker. Programs of rpcpool itself are
// looked for beside this one first, so that an unpacked release just works.
func findWorker(program string) (string, error) {
	if strings.HasPrefix(program, "rpcpool-") {
		return sidecar.FindProgram(program)
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", err
	}
	// A worker runs in a directory of its own.
	return filepath.Abs(path)
}

// localParts runs trackers and servers for package local. Its list of servers
// is for /readyz alone.
type localParts struct {
	log       *slog.Logger
	registry  *prometheus.Registry
	metrics   *sidecar.Metrics // all servers share it
	agent     string
	agentArgs []string
	dir       string
	first     bool // there was no registry before

	mu      sync.Mutex
	servers []readiness
	calls   []callsServer
}

// readiness is a server as /readyz sees it.
type readiness struct {
	addr  net.Addr
	ready func() error
}

// RunTracker runs a tracker. Its metrics carry its name, because a process may
// run several.
func (p *localParts) RunTracker(ctx context.Context, t local.Tracker, l *net.TCPListener) error {
	reg := prometheus.WrapRegistererWith(prometheus.Labels{"tracker": t.Namespace + "/" + t.Name}, p.registry)
	metrics, err := tracker.NewMetrics(reg)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	log := p.log.With("tracker", t.Name)
	host, err := newHost(p.first, nil, reg, log)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	server := tracker.NewServer(tracker.Options{Logger: log, Metrics: metrics, Native: host.Take})
	return errors.Join(server.Serve(ctx, l), host.Close())
}

// RunServer runs a server and its agent. The server's port, unique on this
// machine, names its directory; that keeps the path of the socket in it short.
func (p *localParts) RunServer(ctx context.Context, s local.Server, l *net.TCPListener) error {
	agent := sidecar.AgentOptions{
		Path: p.agent, Args: p.agentArgs, Logger: p.log.With("name", s.Name),
		Dir: filepath.Join(p.dir, fmt.Sprint(l.Addr().(*net.TCPAddr).Port)), //nolint:forcetypeassert // a TCP listener's
	}
	if err := os.MkdirAll(agent.Dir, 0o700); err != nil {
		return errors.Join(err, l.Close())
	}
	if s.Settings.Protocol == string(v1alpha1.ProtocolRPC) {
		return p.runCalls(ctx, s, l, agent)
	}
	o, err := serverOptions(s)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	o.Listener, o.AgentSocket, o.Metrics, o.Logger = l, agent.Socket(), p.metrics, agent.Logger
	server, err := sidecar.New(o)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	p.add(readiness{server.Addr(), server.Ready})
	return sidecar.RunWithAgent(ctx, server, agent)
}

func (p *localParts) add(r readiness) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.servers = append(p.servers, r)
}

// ready is nil if as many servers as were planned are ready.
func (p *localParts) ready(planned int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.servers) < planned {
		return fmt.Errorf("%d of %d servers started", len(p.servers), planned)
	}
	var errs []error
	for _, server := range p.servers {
		if err := server.ready(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", server.addr, err))
		}
	}
	return errors.Join(errs...)
}

// serverOptions turns the manifest's values into the server's. A zero means
// the default there; in a manifest, where defaults are filled in already, it
// means zero.
func serverOptions(s local.Server) (sidecar.Options, error) {
	flavour, err := tvm.ParseFlavour(s.Settings.Flavour)
	if err != nil {
		return sidecar.Options{}, fmt.Errorf("flavour: %w", err)
	}
	isolation, err := sidecar.ParseIsolation(s.Settings.Isolation)
	if err != nil {
		return sidecar.Options{}, fmt.Errorf("isolation: %w", err)
	}
	dump, err := sidecar.ParseDump(s.Settings.KillDump)
	if err != nil {
		return sidecar.Options{}, fmt.Errorf("kill dump: %w", err)
	}
	budgets := s.Settings.Budgets
	o := sidecar.Options{
		Key: s.Key, Tracker: s.Tracker, Command: s.Command, Env: s.Settings.Env,
		Flavour: flavour, Warm: s.Settings.WarmWorkers,
		HandshakeTimeout: s.Settings.HandshakeTimeout,
		KillGrace:        max(s.Settings.KillGrace, time.Nanosecond),
		Isolation:        isolation,
		Heartbeat:        s.Settings.Heartbeat,
		Budgets: map[supervise.Phase]time.Duration{
			supervise.PhaseUpload: budgets.Upload, supervise.PhaseLoad: budgets.Load, supervise.PhaseRun: budgets.Run,
		},
		Dump: dump, Limits: workerLimits(s),
	}
	maps.DeleteFunc(o.Budgets, func(_ supervise.Phase, budget time.Duration) bool { return budget == 0 })
	o.SessionTimeout.Default, o.SessionTimeout.Max = s.Settings.DefaultTimeout, s.Settings.MaxTimeout
	o.Quarantine.Failures, o.Quarantine.Window = s.Settings.Failures, s.Settings.Window
	return o, nil
}

// workerLimits bound what one worker of a server may use.
func workerLimits(s local.Server) supervise.Limits {
	l := s.Settings.Limits
	return supervise.Limits{
		CPU: l.CPU, Memory: l.Memory, Processes: l.Processes, OpenFiles: l.OpenFiles,
		File: s.Settings.WorkDirLimit, WorkDir: s.Settings.WorkDirLimit,
	}
}
