package conn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/frame"
)

// ServerOptions of a Server. Handler and Admit must be set; the zero value of
// each other field means its default.
type ServerOptions struct {
	Handler     Handler // of all connections
	Admit       Admit   // decides about clients
	Bulk        Bulk    // takes bulk connections. Default: they are closed. Admit says whether there are some
	Conn        Options
	IdleTimeout time.Duration // clients that say nothing for so long are sent away, see [Occupied]. Default 5 min; negative: never
	Grace       time.Duration // for a client that is sent away. Default 1 s
	MaxConns    int           // at the same time, handshakes included. Default 65,536
	Ticker      Ticker        // of the idle timeout and keepalive. Default: the monotonic clock
	Log         *slog.Logger  // of clients that are refused. Default: none
}

// Occupied is a [Handler] of a [Server] that knows whether something is under way for a client:
// then it is not sent away, although it says nothing.
type Occupied interface {
	// Occupied is asked about clients that have said nothing for the idle timeout, one after
	// the other, and must not wait.
	Occupied(p Peer) bool
}

// Bulk serves a bulk connection ([frame.FeatureBulk]) whose client has been admitted; from has the
// features that both have. It returns when the connection has ended; it is closed when ctx ends, or Bulk returns.
type Bulk func(ctx context.Context, nc net.Conn, from frame.Hello)

// Server accepts connections.
type Server struct {
	opts   ServerOptions
	ctx    context.Context //nolint:containedctx // ends handshakes when the server is closed
	cancel context.CancelCauseFunc
	keeper *keeper
	count  atomic.Int32

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	locals    map[*Local]struct{}
	running   sync.WaitGroup
}

// NewServer returns a server that has accepted nothing yet. It must be closed.
func NewServer(opts ServerOptions) (*Server, error) {
	var err error
	if opts.Conn, err = opts.Conn.withDefaults(); err != nil {
		return nil, err
	}
	if opts.Handler == nil || opts.Admit == nil || opts.MaxConns < 0 || opts.Grace < 0 {
		return nil, errors.New("bad options: Handler and Admit must be set, nothing may be negative")
	}
	setTime(&opts.IdleTimeout, 5*time.Minute)
	setTime(&opts.Grace, time.Second)
	setInt(&opts.MaxConns, 1<<16)
	if opts.Ticker == nil {
		opts.Ticker = realTicker
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: opts, listeners: map[net.Listener]struct{}{}, locals: map[*Local]struct{}{}}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.keeper = &keeper{idle: max(opts.IdleTimeout, 0), alive: opts.Conn.Keepalive, traffic: true, reap: s.sendAway}
	if h, knows := opts.Handler.(Occupied); knows {
		s.keeper.busy = func(c *Conn) bool { return h.Occupied(c) }
	}
	s.keeper.start(opts.Ticker)
	return s, nil
}

// sendAway ends the connection of an idle client.
func (s *Server) sendAway(c *Conn) {
	s.spawn(func() {
		_ = c.GoAway(s.ctx, frame.GoAway{Reason: frame.ReasonIdle, Grace: s.opts.Grace, Text: "idle"})
	})
}

func (s *Server) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Go(f)
	return true
}

// Serve accepts from l until l or the server is closed. It waits out a shortage
// of descriptors. It closes l.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(ErrClosed, l.Close())
	}
	s.listeners[l] = struct{}{}
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.Take(nc)
			continue
		}
		if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return ErrClosed
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
}

// Take is [Server.ServeConn] that does not wait.
func (s *Server) Take(nc net.Conn) {
	if !s.spawn(func() { _, _ = s.ServeConn(nc) }) {
		_ = nc.Close()
	}
}

// ServeConn makes a connection of a socket that somebody else has accepted. A bulk
// connection is served before it returns, with an error.
func (s *Server) ServeConn(nc net.Conn) (*Conn, error) {
	s.opts.Conn.TCP.Tune(nc)
	admit := s.opts.Admit
	if s.count.Add(1) > int32(s.opts.MaxConns) {
		admit = func(*frame.Hello) frame.HelloAck {
			return frame.HelloAck{Reason: frame.ReasonOverload, Text: []byte("too many connections")}
		}
	}
	from, ack, err := greet(s.ctx, nc, admit, s.opts.Conn)
	switch {
	case err != nil:
		s.count.Add(-1)
		if why, is := RefusalOf(err); is {
			s.keeper.counts.refused[why].Add(1)
			s.opts.Log.Debug("client was refused", "client", nc.RemoteAddr(), "reason", why.String(), "err", err)
		}
		return nil, fmt.Errorf("client %v: %w", nc.RemoteAddr(), err)
	case from.Required&frame.FeatureBulk != 0:
		defer s.count.Add(-1)
		from.Features = ack.Features
		return nil, s.bulk(nc, from)
	}
	kept := make(chan struct{})
	c := welcome(nc, from, ack, s.opts.Handler, s.opts.Conn, owner{
		clock: &s.keeper.now,
		over: func(c *Conn) {
			<-kept
			s.keeper.remove(c)
			s.count.Add(-1)
		},
	})
	s.keeper.add(c)
	close(kept)
	if s.ctx.Err() != nil {
		_ = c.Close()
	}
	return c, nil
}

// errBulk is why there is no connection for calls.
var errBulk = errors.New("it was a bulk connection")

// bulk serves a bulk connection, and closes it.
func (s *Server) bulk(nc net.Conn, from frame.Hello) error {
	stop := context.AfterFunc(s.ctx, func() { _ = nc.Close() })
	defer stop()
	if s.opts.Bulk != nil {
		s.opts.Bulk(s.ctx, nc, from)
	}
	_ = nc.Close()
	return errBulk
}

// Attach connects a client in this process. client is its handler.
func (s *Server) Attach(client Handler) (*Local, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	l, _ := Pair(client, s.opts.Handler)
	s.locals[l] = struct{}{}
	l.link.over = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.locals, l)
	}
	return l, nil
}

// Conns returns how many clients are connected over sockets.
func (s *Server) Conns() int { return len(s.keeper.all()) }

// Shutdown tells all clients to go, waits until they have or the grace or ctx is
// over, and closes the server.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	for l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()
	var leaving sync.WaitGroup
	for _, c := range s.keeper.all() {
		leaving.Go(func() {
			_ = c.GoAway(ctx, frame.GoAway{Reason: frame.ReasonShutdown, Grace: s.opts.Grace, Text: "server stops"})
		})
	}
	leaving.Wait()
	return s.Close()
}

// Close closes all connections at once, and waits until nothing of the server
// runs.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		_ = l.Close()
	}
	locals := s.locals
	s.locals = nil
	s.mu.Unlock()
	s.cancel(ErrClosed)
	for l := range locals {
		_ = l.Close()
	}
	for range 2 { // the second time those whose handshake was being finished
		for _, c := range s.keeper.all() {
			_ = c.Close()
			<-c.Done()
		}
		s.running.Wait()
	}
	s.keeper.stop()
	return nil
}
