package tracker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/tvm"
)

// Pauses of the accept loop while the process or the system is out of
// descriptors or memory.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

const messageCodes = int(tvm.CodeGetPendingMatchKeys) + 1

// Server is a tracker. Make it by [NewServer].
type Server struct {
	options     Options
	wantedConns int // options.MaxConns before the limit of open files
	rejections  rejectionLog
	goroutines  sync.WaitGroup
	frameMemory atomic.Int64
	backlogs    *backlogs
	summaries   sync.Mutex                  // held while a summary is made
	frames      [messageCodes]atomic.Uint64 // by code
	rejects     [rejectReasons]atomic.Uint64

	mu       sync.Mutex // guards registry and every conn.peer in it
	registry *registry

	connMu   sync.Mutex
	conns    map[*conn]struct{}
	started  bool
	stopped  chan struct{} // closed when the server is to stop
	stopping bool

	news chan struct{} // holds one value if the registry was touched
	wait func(d time.Duration, stop <-chan struct{}) bool
}

// NewServer returns a tracker that knows nobody. It starts nothing.
func NewServer(o Options) *Server {
	o = o.withDefaults()
	wanted := o.MaxConns
	o.MaxConns = affordable(wanted, descriptors())
	s := &Server{
		wantedConns: wanted,
		options:     o,
		rejections:  rejectionLog{log: o.Logger},
		registry:    newRegistry(o.FairShare, o.HungAfter),
		backlogs:    newBacklogs(maxBacklogs),
		conns:       map[*conn]struct{}{},
		stopped:     make(chan struct{}),
		news:        make(chan struct{}, 1),
		wait:        sleep.For,
	}
	s.registry.settling = o.Settle > 0
	s.registry.watched = o.Changed != nil
	o.Metrics.attach(s)
	return s
}

// Serve accepts connections, which must be TCP, from l until ctx ends or a peer
// stops the tracker by the stop key; then it returns nil. Whatever the reason,
// when it returns l and all connections are closed and no goroutine of the
// server is left. It can be called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.connMu.Lock()
	again := s.started
	s.started = true
	s.connMu.Unlock()
	if again {
		return errors.New("tracker: a Server serves once")
	}
	if s.options.MaxConns < s.wantedConns {
		s.options.Logger.Warn("fewer connections than allowed: the limit of open files is low",
			"max_connections", s.options.MaxConns, "allowed", s.wantedConns)
	}
	if s.options.Changed != nil {
		s.goroutines.Go(s.tell)
	}
	if s.options.Settle > 0 {
		s.goroutines.Go(s.settle)
	}
	accepting := make(chan struct{})
	s.goroutines.Go(func() {
		select {
		case <-ctx.Done():
			s.stop()
		case <-s.stopped:
		case <-accepting: // failed
		}
		_ = l.Close()
	})
	err := s.acceptAll(l)
	close(accepting)
	s.stop()
	s.closeAll()
	s.goroutines.Wait()
	return err
}

// acceptAll returns nil if the server is to stop.
func (s *Server) acceptAll(l net.Listener) error {
	pause := acceptPauseMin
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = acceptPauseMin
			s.welcome(nc)
		case s.isStopping():
			return nil
		case exhausted(err):
			s.options.Logger.Warn("cannot accept, trying again", "error", err, "pause", pause)
			if !sleep.For(pause, s.stopped) {
				return nil
			}
			pause = min(2*pause, acceptPauseMax)
		case errors.Is(err, syscall.ECONNABORTED): // gone before we took it
		default:
			return fmt.Errorf("tracker: accept: %w", err)
		}
	}
}

// exhausted tells whether waiting may cure an error of accept.
func exhausted(err error) bool {
	for _, cure := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, cure) {
			return true
		}
	}
	return false
}

// welcome starts the reader of a new connection, or closes it.
func (s *Server) welcome(nc net.Conn) {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		s.options.Logger.Error("listener gives connections that are not TCP", "type", fmt.Sprintf("%T", nc))
		_ = nc.Close()
		return
	}
	c, err := newConn(s, tc)
	if err != nil { // closed already
		_ = nc.Close()
		return
	}
	bad, ok := s.admit(c)
	if !ok {
		_ = nc.Close()
		if bad != nil {
			s.rejected(c.peer.addr, bad)
		}
		return
	}
	s.goroutines.Go(c.serve)
}

// admit adds a connection to those that are open, or says why not; a server
// that stops takes no more and has no reason to give.
func (s *Server) admit(c *conn) (why *rejection, ok bool) {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	if s.stopping {
		return nil, false
	}
	if n := len(s.conns); n >= s.options.MaxConns {
		return &rejection{rejectConnLimit, fmt.Errorf("%d connections are open", n)}, false
	}
	s.conns[c] = struct{}{}
	return nil, true
}

func (s *Server) forget(c *conn) {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	delete(s.conns, c)
}

// leave takes a connection that is closed out of the registry.
func (s *Server) leave(c *conn, undelivered []*offer, why error) {
	now := s.options.Clock.Now()
	s.mu.Lock()
	server, key := c.peer.isServer(), c.peer.key
	out := s.registry.leave(&c.peer, now, undelivered, nil)
	s.unlock()
	_ = s.deliver(c, out, now)
	if server {
		s.options.Logger.Info("server gone", "key", key, "peer", c.peer.addr, "cause", why)
	}
}

func (s *Server) rejected(peer string, e *rejection) {
	s.rejects[e.reason].Add(1)
	s.rejections.add(s.options.Clock.Now(), peer, e)
}

// stop makes Serve return. It does not wait for that.
func (s *Server) stop() {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	if !s.stopping {
		s.stopping = true
		close(s.stopped)
	}
}

func (s *Server) isStopping() bool {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	return s.stopping
}

// closeAll closes every connection. None is admitted any more.
func (s *Server) closeAll() {
	s.connMu.Lock()
	open := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		open = append(open, c)
	}
	s.connMu.Unlock()
	for _, c := range open {
		c.out.close(errClosed)
	}
}

func (s *Server) snapshot(now time.Time) snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.registry.snapshot(now)
}

// Summary returns what the tracker answers to SUMMARY (spec: TVM tracker
// SUMMARY, with the fields "state", "age_s" and "granted_to" added to servers,
// and "waiting" to queues).
func (s *Server) Summary() tvm.SummaryReply {
	return s.snapshot(s.options.Clock.Now()).reply()
}
