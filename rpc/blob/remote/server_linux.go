package remote

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/frame"
)

// tick is how often leases are looked at.
const tick = 250 * time.Millisecond

// Server serves the bulk connections of the parties of a host. It is safe for concurrent use.
type Server struct {
	host *shm.Host
	opts ServerOptions
	stop chan struct{}
	runs sync.WaitGroup // the clock and all connections

	mu      sync.Mutex
	parties map[[sha256.Size]byte]*party // by the secret's hash, so that no search tells anything of it
	open    map[net.Conn]struct{}
	closed  bool
	moved   Moved
}

// NewServer makes a server. It must be closed before its host is.
func NewServer(h *shm.Host, o ServerOptions) *Server {
	o.Patience = cmp.Or(o.Patience, 20*time.Second)
	o.Parties, o.Conns, o.Transfers, o.References = cmp.Or(o.Parties, 512), cmp.Or(o.Conns, 16), cmp.Or(o.Transfers, 64), cmp.Or(o.References, 4096)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.now == nil {
		begun := time.Now()
		o.now = func() time.Duration { return time.Since(begun) }
	}
	s := &Server{host: h, opts: o, stop: make(chan struct{}), parties: map[[sha256.Size]byte]*party{}, open: map[net.Conn]struct{}{}}
	s.runs.Go(s.clock)
	return s
}

func (s *Server) clock() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.expire()
		}
	}
}

// expire ends the parties whose lease is over.
func (s *Server) expire() {
	now := s.opts.now()
	s.mu.Lock()
	var over []*party
	for key, p := range s.parties {
		if now >= p.heard()+p.lease {
			delete(s.parties, key)
			over = append(over, p)
		}
	}
	s.mu.Unlock()
	for _, p := range over {
		s.opts.Log.Info("lease of a party is over", "party", p.ID(), "name", p.name)
		p.leave()
	}
}

// Close ends all connections and parties, and waits until nothing moves any more.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	all := s.parties
	s.parties = nil
	for nc := range s.open {
		_ = nc.Close()
	}
	s.mu.Unlock()
	close(s.stop)
	for _, p := range all {
		p.leave()
	}
	s.runs.Wait()
	return nil
}

// Parties returns how many there are.
func (s *Server) Parties() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.parties)
}

// Serve serves a bulk connection until it ends, or ctx. It is a conn.Bulk.
func (s *Server) Serve(ctx context.Context, nc net.Conn, from frame.Hello) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.runs.Add(1)
	s.open[nc] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.open, nc)
		s.mu.Unlock()
		s.runs.Done()
	}()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	c := &session{server: s, link: newLink(nc, from.Limits), copies: from.Features&frame.FeatureBulkCopy != 0}
	err := c.serve()
	c.end(err)
	s.opts.Log.Debug("a bulk connection has ended", "client", nc.RemoteAddr(), "err", err)
}

// join finds the party of a secret, or makes one.
func (s *Server) join(m *message) (*party, error) {
	key := sha256.Sum256(m.Secret[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p := s.parties[key]; {
	case s.closed:
		return nil, errClosing
	case p != nil:
		return p, nil
	case m.Flags&flagKnown != 0:
		return nil, fmt.Errorf("%w: the lease is over, or it was another server", blob.ErrParty)
	case m.Secret == [secretLen]byte{}:
		return nil, malformed("JOIN without a secret")
	case len(s.parties) >= s.opts.Parties:
		return nil, fmt.Errorf("%w: %d parties", ErrMany, len(s.parties))
	}
	far, err := s.host.Join(string(m.Text[:min(len(m.Text), mostName)]))
	if err != nil {
		return nil, err
	}
	p := &party{
		Party: far, server: s, key: key, name: string(m.Text[:min(len(m.Text), mostName)]),
		lease:    min(max(m.lease(), minLease), maxLease),
		sessions: map[*session]struct{}{}, transfers: map[uint64]*transfer{}, refs: map[uint64]blob.RefID{},
	}
	p.freed.L = &p.mu
	p.hear()
	s.parties[key] = p
	return p, nil
}

var errClosing = &frame.Error{Reason: frame.ReasonShutdown, Text: "server of blobs stops"}

// drop ends a party at its own wish.
func (s *Server) drop(p *party) {
	s.mu.Lock()
	if s.parties[p.key] == p {
		delete(s.parties, p.key)
	}
	s.mu.Unlock()
	p.leave()
}

// Moved tells how transfers went, since the start.
func (s *Server) Moved() Moved {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved.clone()
}

func (s *Server) count(how func(*Moved)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how(&s.moved)
}

// failed counts a transfer that did not go past the connection.
func (s *Server) failed(why string) { s.count(func(m *Moved) { m.failed(why) }) }
