package calls

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/grpcdoor"
	"rpcpool.dev/rpc/port"
)

// healthEvery is how often gRPC's health checks learn whether the server is ready.
const healthEvery = time.Second

// openPorts lets clients that speak gRPC in by the same listeners. What they call goes to
// the same core.
func (s *Server) openPorts() (err error) {
	if s.opts.NoGRPC {
		return nil
	}
	if s.grpc, err = grpcdoor.New(s.core, grpcdoor.Options{Lease: lease, MaxOpen: open}); err != nil {
		return err //nolint:wrapcheck // New does
	}
	s.grpc.SetServing(false) // until a worker is ready
	for _, l := range s.opts.Listeners {
		p, err := port.New(l, port.Options{Log: s.opts.Log})
		if err != nil {
			return err //nolint:wrapcheck // New does
		}
		s.ports = append(s.ports, p)
	}
	return nil
}

// serve has the group take clients until the server is told to stop.
func (s *Server) serve(ctx context.Context, group *errgroup.Group) {
	take := func(at net.Listener, what string, serve func() error) {
		group.Go(func() error {
			err := serve()
			if ctx.Err() == nil {
				return fmt.Errorf("no client can connect to %s: %s: %w", at.Addr(), what, err)
			}
			return nil
		})
	}
	native := s.opts.Listeners
	for _, p := range s.ports {
		overNative, overHTTP2 := p.Listen(frame.ProtocolNative), p.Listen(frame.ProtocolHTTP2)
		take(overNative, "port", p.Serve)
		take(overNative, "native calls", func() error { return s.conns.Serve(overNative) })
		take(overHTTP2, "gRPC", func() error { return s.grpc.Serve(overHTTP2) })
		native = nil
	}
	for _, l := range native {
		take(l, "native calls", func() error { return s.conns.Serve(l) })
	}
	if s.grpc != nil {
		group.Go(func() error {
			s.tellHealth(ctx)
			return nil
		})
	}
}

// connections counts clients by the word of what they speak.
func (s *Server) connections() map[string]int {
	n := map[string]int{"native": s.conns.Conns(), "grpc": 0}
	if s.grpc != nil {
		n["grpc"] = s.grpc.Conns()
	}
	return n
}

// tellHealth keeps gRPC's health what [Server.Ready] says, until ctx ends.
func (s *Server) tellHealth(ctx context.Context) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		s.grpc.SetServing(s.Ready() == nil)
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.grpc.SetServing(false)
			return
		}
	}
}

// leave sends all clients away. New ones find nobody.
func (s *Server) leave(ctx context.Context) {
	for _, l := range s.opts.Listeners {
		_ = l.Close()
	}
	var group errgroup.Group
	group.Go(func() error { return s.conns.Shutdown(ctx) })
	if s.grpc != nil {
		group.Go(func() error { return s.grpc.Shutdown(ctx) })
	}
	_ = group.Wait() // who did not go in time is closed by Close
}

// closeDoors ends all connections at once.
func (s *Server) closeDoors() error {
	var errs []error
	for _, p := range s.ports {
		errs = append(errs, p.Close())
	}
	for _, l := range s.opts.Listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.grpc != nil {
		errs = append(errs, s.grpc.Close())
	}
	if s.conns != nil {
		errs = append(errs, s.conns.Close())
	}
	return errors.Join(errs...)
}
