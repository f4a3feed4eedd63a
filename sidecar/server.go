package sidecar

import (
	"context"
	"net"
	"sync"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tracker"
)

// Bounds of the connection to the agent.
const (
	agentDial     = 5 * time.Second
	agentRetryMin = 20 * time.Millisecond
	agentRetryMax = time.Second
)

// Server serves one device.
type Server struct {
	options Options
	tickets *tickets
	offer   *offer
	core    *core
	watch   func(context.Context) // over RDMA devices; nil: none were promised

	now func() time.Time

	mu        sync.Mutex
	published device // the device as the core last said
	doorErr   error  // why no more clients are accepted, if they should be
}

// New makes a server; [Server.Run] runs it.
func New(o Options) (*Server, error) {
	o, err := o.defaulted()
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, tickets: newTickets(), offer: newOffer(), now: time.Now}
	s.published = device{state: stateStarting, reason: "the server has just started"}
	s.core = newCore(o, s.tickets, s.publish)
	if o.RDMA.Mode.On() {
		s.watch = func(ctx context.Context) { o.RDMA.Watch(ctx, o.Logger, nil, s.core.rdmaSeen) }
	}
	m := meter{Metrics: o.Metrics, key: o.Key}
	m.begin()
	s.offer.dial = func(ctx context.Context) (trackerConn, error) { return tracker.Dial(ctx, o.Tracker) }
	s.offer.key, s.offer.advertise, s.offer.port = o.Key, o.Advertise, s.Addr().Port
	s.offer.name, s.offer.instance = o.Name, o.Instance
	s.offer.tickets, s.offer.log, s.offer.count = s.tickets, o.Logger.With("tracker", o.Tracker), m.offer
	return s, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() *net.TCPAddr {
	return s.options.Listener.Addr().(*net.TCPAddr) //nolint:forcetypeassert // of a *net.TCPListener
}

// publish receives each change of the device's state from the core.
func (s *Server) publish(d device) {
	s.mu.Lock()
	s.published = d
	s.mu.Unlock()
	if s.options.Tracker == "" {
		if d.state == stateFree {
			s.tickets.Open(s.options.Key)
		}
		return
	}
	s.offer.publish(d)
}

// Run serves until ctx ends, lets a session in progress finish for at most
// DrainTimeout, and returns when everything that it started has ended. It
// returns early, with an error, only if the listener fails.
func (s *Server) Run(ctx context.Context) error {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	drain, stopDrain := context.WithCancel(ctx)
	defer stopDrain()

	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		if err := s.door().serve(inner); err != nil {
			s.mu.Lock()
			s.doorErr = err
			s.mu.Unlock()
			stopDrain()
		}
	})
	if s.options.Tracker != "" {
		group.Go(func() { s.offer.run(inner) })
	}
	if s.watch != nil {
		group.Go(func() { s.watch(inner) })
	}
	group.Go(func() { s.connectAgent(inner) })
	s.core.run(drain)
	return s.doorFailure()
}

// doorFailure is why no more clients are accepted although the server has not
// ended; nil: they are.
func (s *Server) doorFailure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doorErr
}

func (s *Server) door() *door {
	return &door{
		listener: s.options.Listener,
		key:      s.options.Key,
		direct:   s.options.Tracker == "",
		timeout:  s.options.HandshakeTimeout,
		tickets:  s.tickets,
		admit:    s.core.admit,
		lost:     s.core.ticketLost,
		log:      s.options.Logger,
		count:    meter{Metrics: s.options.Metrics, key: s.options.Key}.handshake,
	}
}

// connectAgent gives the core a link to the agent, and a new one whenever the
// last has ended.
func (s *Server) connectAgent(ctx context.Context) {
	wait, said := agentRetryMin, false
	for ctx.Err() == nil {
		dialCtx, cancel := context.WithTimeout(ctx, agentDial)
		link, err := supervise.Dial(dialCtx, s.options.AgentSocket)
		cancel()
		if err != nil {
			if wait == agentRetryMax && !said { // an agent that is just starting is no news
				s.options.Logger.Warn("waiting for the agent", "error", err)
				said = true
			}
			sleep.For(wait, ctx.Done())
			wait = min(wait*2, agentRetryMax)
			continue
		}
		wait, said = agentRetryMin, false
		if !s.core.linked(link) {
			link.Close()
			return
		}
	}
}
