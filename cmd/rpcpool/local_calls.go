package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/internal/local"
	"rpcpool.dev/rpc/blob"
	core "rpcpool.dev/rpc/server"
	"rpcpool.dev/sidecar"
	"rpcpool.dev/sidecar/calls"
	"rpcpool.dev/sidecar/calls/remote"
	"rpcpool.dev/sidecar/supervise"
)

// runCalls runs a server of native calls and its agent, as in a pod: the agent starts
// the workers, and bounds what they use. The metrics carry the server's names, because
// they are of one server each.
func (p *localParts) runCalls(ctx context.Context, s local.Server, l *net.TCPListener, agent sidecar.AgentOptions) (err error) {
	dump, err := sidecar.ParseDump(s.Settings.KillDump)
	if err != nil {
		return errors.Join(fmt.Errorf("kill dump: %w", err), l.Close())
	}
	grace := max(s.Settings.KillGrace, time.Nanosecond)
	starter, err := remote.New(remote.Options{Socket: agent.Socket(), Log: agent.Logger, Start: supervise.Start{
		Argv: s.Command, Env: s.Settings.Env, StartTimeout: startTimeout, KillGrace: grace,
		Dump: dump, Limits: workerLimits(s),
	}})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, starter.Close()) }()
	agent.Hung = starter.Hung()
	metrics, err := calls.NewMetrics(prometheus.WrapRegistererWith(prometheus.Labels{"namespace": s.Namespace, "server": s.Name}, p.registry))
	if err != nil {
		return errors.Join(err, l.Close())
	}
	c := s.Settings.Calls
	member, err := calls.NewMember(calls.Options{
		Listeners: []net.Listener{l}, Starter: starter, Metrics: metrics, Log: agent.Logger,
		Workers: c.Workers, Concurrency: c.Concurrency, MaxTimeout: c.MaxTimeout, KillGrace: grace, StartTimeout: startTimeout,
		Journal: filepath.Join(agent.Dir, "calls"), JournalSize: c.JournalSize,
		Blobs: calls.BlobOptions{Limits: blob.Limits{Memory: uint64(c.BlobMemory), PartyBytes: uint64(c.BlobMemory / 2)}},
	}, calls.JoinOptions{Tracker: s.Tracker, Service: s.Key, Name: s.Name})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	p.add(readiness{l.Addr(), member.Ready})
	p.show(callsServer{s.Namespace + "/" + s.Name, member.Core})
	return sidecar.RunBesideAgent(ctx, member.Run, agent)
}

// callsServer is a server of native calls as /debug/rpc sees it.
type callsServer struct {
	name string
	core func() *core.Core // nil: it joins
}

func (p *localParts) show(s callsServer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, s)
}

// callsPage shows the open calls of all servers of native calls.
func (p *localParts) callsPage() http.Handler {
	return core.Page(func(show func(string, *core.Core)) {
		p.mu.Lock()
		all := slices.Clone(p.calls)
		p.mu.Unlock()
		for _, s := range all {
			if c := s.core(); c != nil {
				show(s.name, c)
			}
		}
	})
}

// startTimeout is for a worker to become ready; a manifest does not say it.
const startTimeout = 30 * time.Second
