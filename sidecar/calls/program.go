package calls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"rpcpool.dev/rpc/accumulator/remote"
	"rpcpool.dev/rpc/workers"
)

// Program is all that the flags ask for: a server, how it is found, and what its workers
// write to. It must be opened, then run; or closed.
type Program struct {
	opts    Options
	join    *JoinOptions  // nil: it is not found by a registry
	acc     *Accumulators // nil: its workers write to nothing
	serving serving
}

// serving is a [Server], or a [Member].
type serving interface {
	Run(ctx context.Context) error
	Alive() error
	Ready() error
	BlobsPage() http.Handler
	CallsPage() http.Handler
}

// Program checks the flags, and opens all listeners. An error names the flag that is wrong.
func (f *Flags) Program(metrics prometheus.Registerer, log *slog.Logger) (*Program, error) {
	f.network.Log = log
	join, err := f.Join()
	if err != nil {
		return nil, err
	}
	p := &Program{join: join}
	if p.opts, err = f.Options(); err != nil {
		return nil, err
	}
	rdma, err := f.rdma.Options()
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.opts.Log = log
	if p.opts.Metrics, err = NewMetrics(metrics); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if !p.opts.Blobs.Off {
		rdma.Promise.Locked = p.opts.Blobs.Limits.Memory // segments are pinned whole, and there may be so many
	}
	if p.opts.devices, err = newDevices(rdma, f.join.Service, metrics, log); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := p.opts.devices.refuse(join != nil); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	l, err := f.ListenAccumulators()
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if l == nil {
		return p, nil
	}
	if p.acc, err = NewAccumulators(l, metrics, log); err != nil {
		return nil, errors.Join(err, l.Close(), p.Close())
	}
	return p, nil
}

// Env is what the workers' environment has to have, as NAME=VALUE.
func (p *Program) Env() []string {
	if p.acc == nil {
		return nil
	}
	return []string{remote.Variable + "=" + p.acc.Address()}
}

// Options are the server's.
func (p *Program) Options() *Options { return &p.opts }

// Open makes the server, whose workers a starter starts.
func (p *Program) Open(starter workers.Starter) (err error) {
	p.opts.Starter = starter
	if p.join != nil {
		p.serving, err = NewMember(p.opts, *p.join)
	} else {
		p.serving, err = New(p.opts)
	}
	if err != nil {
		p.serving = nil
		return errors.Join(err, p.Close())
	}
	o := &p.opts
	o.Log.Info("connections of clients", "tls", o.TLS != nil, "certificates", o.TLS != nil && o.TLS.ClientCAs != nil,
		"token", o.Token != nil, "rules", o.Allow != nil, "grpc", !o.NoGRPC,
		"keepalive_time", o.TCP.KeepAlive, "keepalive_interval", o.TCP.Interval, "keepalive_probes", o.TCP.Probes)
	return nil
}

// Close closes a program that does not run.
func (p *Program) Close() error {
	err := closeAll(p.opts.Listeners)
	if p.acc != nil {
		err = errors.Join(err, p.acc.Close())
	}
	return errors.Join(err, p.opts.devices.close())
}

// Addrs are those of the listeners, as clients write them.
func (p *Program) Addrs() (all []string) {
	for _, l := range p.opts.Listeners {
		all = append(all, addrOf(l.Addr()))
	}
	return all
}

func addrOf(at net.Addr) string {
	if at.Network() == "unix" {
		return "unix:" + at.String()
	}
	return at.String()
}

// Run serves until ctx ends, and what runs has.
func (p *Program) Run(ctx context.Context) error {
	d := p.opts.devices
	if d == nil {
		return p.run(ctx)
	}
	looking, stop := context.WithCancel(context.WithoutCancel(ctx)) // a drain takes its time
	var looks sync.WaitGroup
	looks.Go(func() { d.run(looking) })
	err := p.run(ctx)
	stop()
	looks.Wait()
	return errors.Join(err, d.close())
}

func (p *Program) run(ctx context.Context) error {
	if p.acc == nil {
		return p.serving.Run(ctx) //nolint:wrapcheck // it says all
	}
	group, either := errgroup.WithContext(ctx)
	gathering, stop := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return p.acc.Run(gathering) })
	group.Go(func() error {
		defer stop() // the last worker has had its word
		return p.serving.Run(either)
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("server of calls: %w", err)
	}
	return nil
}

// BlobsPage shows who has which blob; nil if there are none.
func (p *Program) BlobsPage() http.Handler { return p.serving.BlobsPage() }

// CallsPage shows which calls are open.
func (p *Program) CallsPage() http.Handler { return p.serving.CallsPage() }

// Alive returns nil unless only a new process helps.
func (p *Program) Alive() error { return p.serving.Alive() } //nolint:wrapcheck // it says all

// Ready returns nil while calls are taken, else why not.
func (p *Program) Ready() error {
	if err := p.opts.devices.ready(); err != nil {
		return err
	}
	return p.serving.Ready() //nolint:wrapcheck // it says all
}
