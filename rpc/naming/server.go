package naming

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/registry"
)

// Options of a Server. Registry.Term must be set; the zero value of each other field
// means its default.
type Options struct {
	Registry registry.Options
	Coalesce time.Duration      // what changes within it is told in one update. Default 50 ms
	Poll     time.Duration      // longest wait for a lock or barrier in one call. Default 10 s
	Most     int                // watchers, and calls that wait. Default 16,384
	Token    func([]byte) error // of a Host: checks a client's credentials. Default: all are welcome
}

func (o Options) withDefaults() (Options, error) {
	if o.Coalesce == 0 {
		o.Coalesce = 50 * time.Millisecond
	}
	if o.Poll == 0 {
		o.Poll = 10 * time.Second
	}
	if o.Most == 0 {
		o.Most = 1 << 14
	}
	if o.Coalesce < 0 || o.Poll < 0 || o.Most < 0 {
		return o, errors.New("bad options: something is negative")
	}
	return o, nil
}

// Server is a registry, for everybody whom a server of package rpc lets in.
type Server struct {
	opts   Options
	start  time.Time
	closed chan struct{}

	mu       sync.Mutex
	reg      *registry.Registry
	timer    *time.Timer
	version  uint64
	changed  chan struct{} // closed when version does
	waiting  map[request]*waiter
	guests   int // watchers, and calls that wait
	watchers int // alone
	over     bool

	refusals [registry.Codes]atomic.Uint64
}

// NewServer returns a registry that starts now. It must be closed.
func NewServer(opts Options) (*Server, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("naming: %w", err)
	}
	s := &Server{
		opts: opts, start: time.Now(), closed: make(chan struct{}),
		changed: make(chan struct{}), waiting: map[request]*waiter{},
	}
	if s.reg, err = registry.New(s.now(), opts.Registry); err != nil {
		return nil, fmt.Errorf("naming: %w", err)
	}
	s.timer = time.AfterFunc(registry.Never, func() { s.do(func(time.Duration) {}) })
	s.do(func(time.Duration) {})
	return s, nil
}

func (s *Server) now() time.Duration { return time.Since(s.start) + 1 }

// do does something to the registry, and whatever follows from it.
func (s *Server) do(f func(now time.Duration)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	f(now)
	next := s.reg.Advance(now)
	for _, o := range s.reg.News(now) {
		s.tell(o)
	}
	if v := s.reg.Version(now); v != s.version {
		s.version = v
		close(s.changed)
		s.changed = make(chan struct{})
	}
	if !s.over {
		s.timer.Reset(next - now)
	}
}

// Register makes the registry's methods those of rs, whose limit of calls must be above
// [Options.Most].
func (s *Server) Register(rs *rpc.Server) error {
	handle(s, rs, methodRegister, func(now time.Duration, m *registry.Registration) (*registry.Ack, error) {
		return s.reg.Register(now, m)
	})
	handle(s, rs, methodRenew, func(now time.Duration, m *registry.Renewal) (*registry.Ack, error) {
		return nil, s.reg.Renew(now, m)
	})
	handle(s, rs, methodDeregister, func(now time.Duration, m *registry.Owner) (*registry.Ack, error) {
		return nil, s.reg.Deregister(now, m)
	})
	handle(s, rs, methodRelease, func(now time.Duration, m *registry.Request) (*registry.Ack, error) {
		return nil, s.reg.Release(now, m)
	})
	rpc.Handle(rs, methodLock, s.waits(s.reg.Lock))
	rpc.Handle(rs, methodArrive, s.waits(s.reg.Arrive))
	rpc.Handle(rs, methodState, func(_ context.Context, epoch uint64) (state uint8, _ error) {
		s.do(func(now time.Duration) { state = uint8(s.reg.State(now, epoch)) })
		return state, nil
	})
	rpc.HandleStream(rs, methodWatch, s.watch)
	return rs.Err() //nolint:wrapcheck // it names the method
}

// handle registers a method. Without a result, it answers nothing.
func handle[A, R registry.Message](s *Server, rs *rpc.Server, method string, f func(time.Duration, *A) (*R, error)) {
	rpc.Handle(rs, method, func(_ context.Context, body []byte) ([]byte, error) {
		a, err := decode[A](body)
		if err != nil {
			return nil, s.refused(err)
		}
		var r *R
		s.do(func(now time.Duration) { r, err = f(now, a) })
		if err != nil || r == nil {
			return nil, s.refused(err)
		}
		return registry.Encode(r)
	})
}

func decode[A registry.Message](body []byte) (*A, error) {
	a, err := registry.Decode[A](body)
	if err != nil {
		return nil, &registry.Refusal{Code: registry.Malformed, Text: err.Error()}
	}
	return a, nil
}

// refused makes the error of a call of what the registry says, and counts it.
func (s *Server) refused(err error) error {
	if no := (*registry.Refusal)(nil); errors.As(err, &no) && no.Code < registry.Codes {
		s.refusals[no.Code].Add(1)
	}
	return refused(err)
}

// Counts are what there is at a registry, and what has happened since its start.
type Counts struct {
	registry.Counts

	Watchers int
	Waiting  int                    // calls that wait for a lock or a barrier
	Refusals [registry.Codes]uint64 // by code

	Refused [conn.Refusals]uint64 // of a [Host]: clients that were not let in
}

// Counts returns what there is. It takes time with the number of nodes.
func (s *Server) Counts() (c Counts) {
	s.do(func(now time.Duration) {
		c.Counts, c.Watchers, c.Waiting = s.reg.Counts(now), s.watchers, s.guests-s.watchers
	})
	for code := range c.Refusals {
		c.Refusals[code] = s.refusals[code].Load()
	}
	return c
}

// Settling tells whether new nodes have to wait: there may be some of the registry before.
func (s *Server) Settling() (settling bool) {
	s.do(func(now time.Duration) { settling = s.reg.Settling(now) })
	return settling
}

// Instances returns all nodes, by rank.
func (s *Server) Instances() (all []registry.Instance) {
	s.do(func(now time.Duration) { all = s.reg.Instances(now) })
	return all
}

// enter lets one in who stays, if there is room. It is called with the lock.
func (s *Server) enter() bool {
	if s.guests >= s.opts.Most || s.over {
		return false
	}
	s.guests++
	return true
}

// Close sends those away who watch and wait. What asks later is answered still, but
// nothing happens by itself any more.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over = true
		s.timer.Stop()
		close(s.closed)
	}
	return nil
}
