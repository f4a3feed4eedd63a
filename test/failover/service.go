//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// endpoint is where an EndpointSlice says that a tracker is. The host tells who
// it is; since it cannot be a loopback address, it is not dialled.
type endpoint struct {
	host string
	port int
}

// service is what kube-proxy makes of a Service: an address at which the present
// endpoint is reached. A connection stays with the endpoint that it was made to,
// whatever becomes of the Service, and ends with it.
type service struct {
	listener net.Listener
	done     sync.WaitGroup

	mu      sync.Mutex
	present endpoint
	links   map[string]link // by the client's address
	closed  bool
}

// link is a connection through the Service.
type link struct {
	client, server net.Conn
	to             endpoint
}

// newService listens on the loopback interface until close, or the end of ctx,
// after which nobody is connected any more.
func newService(ctx context.Context) (*service, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("address of the Service: %w", err)
	}
	s := &service{listener: l, links: map[string]link{}}
	s.done.Go(func() { s.accept(ctx) })
	return s, nil
}

// address is what clients and servers connect to.
func (s *service) address() string { return s.listener.Addr().String() }

// point makes e the endpoint of connections that are made from now on.
func (s *service) point(e endpoint) {
	s.mu.Lock()
	s.present = e
	s.mu.Unlock()
}

// endpointOf says where a connection leads, by its client's address; false if
// there is none any more.
func (s *service) endpointOf(client string) (endpoint, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.links[client]
	return l.to, ok
}

func (s *service) accept(ctx context.Context) {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.done.Go(func() { s.relay(ctx, conn) })
	}
}

// relay carries a connection on to the endpoint, or resets it if there is none.
func (s *service) relay(ctx context.Context, client net.Conn) {
	l, ok := s.connect(ctx, client)
	if !ok {
		cut(client)
		return
	}
	var there sync.WaitGroup
	there.Go(func() { pipe(l.server, l.client) })
	pipe(l.client, l.server)
	there.Wait()
	s.mu.Lock()
	delete(s.links, client.RemoteAddr().String())
	s.mu.Unlock()
}

// pipe copies until one end has ended, and then ends the other.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
	_ = from.Close()
}

// connect makes the connection to the endpoint.
func (s *service) connect(ctx context.Context, client net.Conn) (l link, ok bool) {
	s.mu.Lock()
	to := s.present
	s.mu.Unlock()
	if to.port == 0 {
		return l, false
	}
	d := net.Dialer{Timeout: time.Second} // refused at once, as a rule
	server, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(to.port)))
	if err != nil {
		return l, false
	}
	l = link{client, server, to}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = server.Close()
		return l, false
	}
	s.links[client.RemoteAddr().String()] = l
	return l, true
}

func cut(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}

// close ends all connections.
func (s *service) close() {
	_ = s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for _, l := range s.links {
		cut(l.client)
		cut(l.server)
	}
	s.mu.Unlock()
	s.done.Wait()
}
