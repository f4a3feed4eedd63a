package calls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/accumulator"
	"rpcpool.dev/rpc/accumulator/export"
	"rpcpool.dev/rpc/accumulator/remote"
)

// Accumulators gather what workers, and anybody else, write to accumulators, and show it
// to Prometheus. They have a listener of their own: a worker that is busy with the only
// call that it may run can push all the same. They do not go with a server's lease.
type Accumulators struct {
	listener net.Listener
	server   *rpc.Server
}

// NewAccumulators makes them, for clients of a listener, which they close. They must be
// run or closed.
func NewAccumulators(l net.Listener, metrics prometheus.Registerer, log *slog.Logger) (*Accumulators, error) {
	gathered, err := accumulator.NewServer(accumulator.ServerOptions{})
	if err != nil {
		return nil, fmt.Errorf("accumulators: %w", err)
	}
	s, err := rpc.NewServer(rpc.ServerOptions{Log: log})
	if err != nil {
		return nil, fmt.Errorf("accumulators: %w", err)
	}
	remote.Register(s, gathered)
	if err := metrics.Register(export.NewCollector(gathered)); err != nil {
		return nil, errors.Join(fmt.Errorf("metrics of accumulators: %w", err), s.Close())
	}
	return &Accumulators{l, s}, nil
}

// Address is what clients dial, and a worker has as [remote.Variable].
func (a *Accumulators) Address() string { return addrOf(a.listener.Addr()) }

// Run serves until ctx ends, and closes them.
func (a *Accumulators) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = a.server.Close() })
	defer stop()
	if err := a.server.Serve(a.listener); ctx.Err() == nil {
		return errors.Join(fmt.Errorf("nobody can reach the accumulators: %w", err), a.server.Close())
	}
	return a.server.Close() //nolint:wrapcheck // it says all
}

// Close closes them.
func (a *Accumulators) Close() error {
	return errors.Join(a.server.Close(), closeAll([]net.Listener{a.listener}))
}

// ListenAccumulators opens the listener of the flags, nil if they have none. An error
// names the flag.
func (f *Flags) ListenAccumulators() (l net.Listener, err error) {
	if f.accumulators == "" {
		return nil, nil //nolint:nilnil // none
	}
	at, err := rpc.ParseAddress(f.accumulators)
	switch {
	case err != nil:
	case at.Unix != "":
		l, err = listenUnix(at.Unix)
	default:
		l, err = tcp.Listen(at.TCP)
	}
	if err != nil {
		return nil, fmt.Errorf("--accumulators: %w", err)
	}
	return l, nil
}
