package accumulator

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// ServerOptions of a [Server]. The zero value of each field means its default.
type ServerOptions struct {
	// Types are custom aggregators, by the names of their types.
	Types Types
	// MaxSeries bounds how many accumulators there are: with other labels it is
	// another one. Default 10,000.
	MaxSeries int
	// MaxClients bounds of how many clients the last batch is remembered. Default
	// 16,384.
	MaxClients int
	// Lease is for how long it is, after the last push. A batch that is not merged
	// half of it after its client first sent it is not merged any more. No push may
	// arrive so late: make it far longer than what a push may take. Default 10 min.
	Lease time.Duration
}

// Server merges what clients push. Its methods may be called at any time by anyone.
type Server struct {
	opts  ServerOptions
	types Types

	mu       sync.Mutex
	start    time.Time
	families map[string]*family
	series   int
	clients  map[ID]*client
	sweep    time.Time // when to look for clients that are gone
	counts   Counts
}

// family is all that has one name, and so one type.
type family struct {
	typ    string
	series map[string]*item // by labels, as appendLabels writes them
}

// item is one accumulator.
type item struct {
	labels []Label
	start  time.Time
	state  Aggregator
}

// client is what is known of one that pushes.
type client struct {
	last  uint64 // number of its last batch
	heard time.Time
	err   error // what it was told of that batch
}

// Counts says what a server has done since it started.
type Counts struct {
	Merged     uint64 // batches that were merged, at least in part
	Duplicates uint64 // batches that came again
	Refused    uint64 // batches of which nothing was taken
	Rejected   uint64 // entries of merged batches that were not taken
	Series     int    // accumulators that there are
	Clients    int    // clients that are remembered
}

// NewServer returns a server that has nothing. It fails if a custom type cannot be.
func NewServer(opts ServerOptions) (*Server, error) {
	types, err := builtin().with(opts.Types)
	if err != nil {
		return nil, err
	}
	set(&opts.MaxSeries, 10_000)
	set(&opts.MaxClients, 1<<14)
	set(&opts.Lease, 10*time.Minute)
	now := time.Now()
	return &Server{
		opts: opts, types: types, start: now, sweep: now,
		families: map[string]*family{}, clients: map[ID]*client{},
	}, nil
}

func set[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// parsed is an entry with its state decoded.
type parsed struct {
	entry
	state Aggregator
	err   error
}

// Push merges a batch, once: if it has merged it before, it says again what it
// said then. An error that is [ErrRejected] is the server's last word on the batch;
// after any other it may be pushed again.
func (s *Server) Push(ctx context.Context, batch []byte) error {
	if ctx.Err() != nil {
		return fmt.Errorf("push to accumulators: %w", notMerged(context.Cause(ctx).Error()))
	}
	h, entries, err := parseBatch(batch)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counts.Refused++
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}
	all := make([]parsed, len(entries))
	for i, e := range entries {
		all[i].entry = e
		all[i].state, all[i].err = s.types.decode(e.typ, e.state)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	c, err := s.admit(now, &h)
	if err != nil {
		s.counts.Refused++
		return err
	}
	if c.heard = now; h.number <= c.last {
		s.counts.Duplicates++
		return c.said(h.number)
	}
	s.counts.Merged++
	c.last, c.err = h.number, s.merge(now, all)
	return c.err
}

// said is what the client was told of a batch that it sends again. It asks for the
// last one only; of others an answer comes too late to be heard.
func (c *client) said(number uint64) error {
	if number == c.last {
		return c.err
	}
	return nil
}

// admit finds the client. One that is not known has either pushed nothing for a
// lease, or never; a batch that is younger than that cannot have been merged.
func (s *Server) admit(now time.Time, h *header) (*client, error) {
	if !now.Before(s.sweep) {
		s.sweep = now.Add(s.opts.Lease / 4)
		for id, c := range s.clients {
			if now.Sub(c.heard) > s.opts.Lease {
				delete(s.clients, id)
			}
		}
	}
	c := s.clients[h.id]
	switch {
	case c != nil:
		return c, nil
	case h.age > s.opts.Lease/2:
		return nil, fmt.Errorf("%w: batch %d of client %x: %w", ErrRejected, h.number, h.id, ErrExpired)
	case len(s.clients) >= s.opts.MaxClients:
		return nil, fmt.Errorf("client %x: %w", h.id, ErrFull)
	}
	c = &client{}
	s.clients[h.id] = c
	return c, nil
}

// merge merges what it can, and says what it could not.
func (s *Server) merge(now time.Time, all []parsed) error {
	var bad rejections
	for i := range all {
		e := &all[i]
		if e.err == nil {
			e.err = s.mergeOne(now, e)
		}
		if e.err != nil {
			s.counts.Rejected++
			bad.add(fmt.Errorf("%q: %w", e.name, e.err))
		}
	}
	return bad.err()
}

func (s *Server) mergeOne(now time.Time, e *parsed) error {
	f, key := s.families[e.name], string(appendLabels(nil, e.labels))
	if f != nil && f.typ != e.typ {
		return fmt.Errorf("%w: it is of type %q, %q was pushed", ErrType, f.typ, e.typ)
	}
	if f != nil && f.series[key] != nil {
		return f.series[key].state.Merge(e.state)
	}
	if s.series >= s.opts.MaxSeries {
		return limitf("there are %d accumulators already", s.series)
	}
	it := &item{labels: e.labels, start: now, state: s.types[e.typ]()}
	if err := it.state.Merge(e.state); err != nil {
		return err
	}
	s.put(e.name, e.typ, key, it)
	return nil
}

func (s *Server) put(name, typ, key string, it *item) {
	f := s.families[name]
	if f == nil {
		f = &family{typ: typ, series: map[string]*item{}}
		s.families[name] = f
	}
	f.series[key] = it
	s.series++
}
