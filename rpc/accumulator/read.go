package accumulator

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Value is an accumulator as a [Server] has it.
type Value struct {
	Name   string
	Type   string  // [TypeSum] and so on, or a custom one
	Labels []Label // by name
	Start  time.Time
	// State is a copy: a [*Sum] for [TypeSum] and so on.
	State Aggregator
}

// Start returns when the server began with nothing. Who reads a value that is less
// than it was finds here, or in the value's own Start, that it began anew.
func (s *Server) Start() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start
}

// Counts returns what the server has done.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Series, c.Clients = s.series, len(s.clients)
	return c
}

// Read returns the accumulator of that name with exactly those labels, or [ErrNotFound].
func (s *Server) Read(name string, labels ...Label) (Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, _, err := s.find(name, labels)
	if err != nil {
		return Value{}, err
	}
	return s.value(name, s.families[name].typ, it)
}

// Reset takes all that was gathered out of an accumulator, or returns [ErrNotFound].
// Its type stays. Values that a client has not pushed yet come after it.
func (s *Server) Reset(name string, labels ...Label) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, _, err := s.find(name, labels)
	if err != nil {
		return err
	}
	it.state, it.start = s.types[s.families[name].typ](), time.Now()
	return nil
}

// Erase removes an accumulator, or returns [ErrNotFound]. When the last one of a
// name is gone, the next may have another type.
func (s *Server) Erase(name string, labels ...Label) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, key, err := s.find(name, labels)
	if err != nil {
		return err
	}
	s.series--
	f := s.families[name]
	if delete(f.series, key); len(f.series) == 0 {
		delete(s.families, name)
	}
	return nil
}

// EraseAll removes all accumulators. What was merged before is still recognised, and
// does not come again.
func (s *Server) EraseAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.families, s.series = map[string]*family{}, 0
}

// List returns all accumulators, by name and labels. It fails only if a custom
// aggregator does; the others are returned.
func (s *Server) List() ([]Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	values := make([]Value, 0, s.series)
	for name, f := range s.families {
		for _, it := range f.series {
			v, err := s.value(name, f.typ, it)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			values = append(values, v)
		}
	}
	slices.SortFunc(values, func(a, b Value) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.CompareFunc(a.Labels, b.Labels, compareLabels))
	})
	return values, errors.Join(errs...)
}

func compareLabels(a, b Label) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
}

func (s *Server) find(name string, labels []Label) (*item, string, error) {
	labels, err := sorted(labels)
	if err != nil {
		return nil, "", err
	}
	key := string(appendLabels(nil, labels))
	if f := s.families[name]; f != nil && f.series[key] != nil {
		return f.series[key], key, nil
	}
	return nil, "", fmt.Errorf("%w: %q with labels %v", ErrNotFound, name, labels)
}

func (s *Server) value(name, typ string, it *item) (Value, error) {
	state := s.types[typ]()
	if err := state.Merge(it.state); err != nil {
		return Value{}, fmt.Errorf("read %q: %w", name, err)
	}
	return Value{Name: name, Type: typ, Labels: slices.Clone(it.labels), Start: it.start, State: state}, nil
}
