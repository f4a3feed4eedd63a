package calls

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/grpcdoor"
	"rpcpool.dev/rpc/port"
)

// healthEvery is how often gRPC's health checks learn whether the server is ready.
const healthEvery = time.Second

// openPorts lets clients that speak gRPC, or TLS, in by the same listeners. What they call
// goes to the same core.
func (s *Server) openPorts(r *rooms) (err error) {
	if s.opts.NoGRPC && s.opts.TLS == nil {
		return nil
	}
	if !s.opts.NoGRPC {
		o := grpcdoor.Options{Lease: lease, MaxOpen: open, Room: r.messages, MaxConns: r.grpc}
		if s.opts.Token != nil {
			o.Admit = func(_ context.Context, token []byte) error {
				err := s.opts.Token(token)
				if err != nil {
					s.strangers.Add(1)
				}
				return err
			}
		}
		if s.grpc, err = grpcdoor.New(s.core, o); err != nil {
			return err //nolint:wrapcheck // New does
		}
		s.grpc.SetServing(false) // until a worker is ready
	}
	for _, l := range s.opts.Listeners {
		o := port.Options{Log: s.opts.Log}
		if l.Addr().Network() != "unix" {
			o.TLS, o.Secure = s.opts.TLS, s.opts.TLS != nil
		}
		p, err := port.New(l, o)
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
		overNative := p.Listen(frame.ProtocolNative)
		take(overNative, "port", p.Serve)
		take(overNative, "native calls", func() error { return s.conns.Serve(overNative) })
		if s.grpc != nil {
			overHTTP2 := &tuned{p.Listen(frame.ProtocolHTTP2), s.opts.TCP}
			take(overHTTP2, "gRPC", func() error { return s.grpc.Serve(overHTTP2) })
		}
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

// tuned sets the options of sockets, which native connections do by themselves.
type tuned struct {
	net.Listener

	tcp conn.TCP
}

// Accept implements [net.Listener].
func (l *tuned) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.tcp.Tune(c)
	}
	return c, err //nolint:wrapcheck // a net.Listener's own
}

// connections counts clients by the word of what they speak.
func (s *Server) connections() map[string]int {
	n := map[string]int{"native": s.conns.Conns(), "grpc": 0}
	if s.grpc != nil {
		n["grpc"] = s.grpc.Conns()
	}
	return n
}

// refused counts clients that were not let in, by the reason.
func (s *Server) refused() [conn.Refusals]uint64 {
	n := s.conns.Counts().Refused
	for _, p := range s.ports {
		for why, v := range p.Refused() {
			n[why] += v
		}
	}
	n[conn.RefusedToken] += s.strangers.Load()
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
