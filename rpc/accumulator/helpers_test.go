package accumulator

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errLost = errors.New("connection is lost")

func newServer(t testing.TB, opts ServerOptions) *Server {
	t.Helper()
	s, err := NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pushing counts what goes to a server.
type pushing struct {
	Pusher
	mu     sync.Mutex
	pushes int
}

func (p *pushing) Push(ctx context.Context, batch []byte) error {
	p.mu.Lock()
	p.pushes++
	p.mu.Unlock()
	return p.Pusher.Push(ctx, batch)
}

func (p *pushing) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pushes
}

// blocked is a server that answers nobody until it is released.
type blocked struct{ called, release chan struct{} }

func newBlocked() *blocked { return &blocked{make(chan struct{}, 1000), make(chan struct{})} }

func (b *blocked) Push(context.Context, []byte) error {
	b.called <- struct{}{}
	<-b.release
	return nil
}

// pushFunc is a function as a pusher.
type pushFunc func(ctx context.Context, batch []byte) error

func (f pushFunc) Push(ctx context.Context, batch []byte) error { return f(ctx, batch) }

// slow is a server that takes so long.
func slow(s *Server, d time.Duration) Pusher {
	return pushFunc(func(ctx context.Context, batch []byte) error {
		time.Sleep(d)
		return s.Push(ctx, batch)
	})
}

func closeClient(t testing.TB, c *Client) {
	t.Helper()
	if err := c.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
}

func flush(t testing.TB, c *Client) {
	t.Helper()
	if err := c.Flush(context.Background()); err != nil {
		t.Errorf("flush: %v", err)
	}
}

// state reads an accumulator.
func state[P Aggregator](t testing.TB, s *Server, name string, labels ...Label) P {
	t.Helper()
	v, err := s.Read(name, labels...)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := v.State.(P)
	if !ok {
		t.Fatalf("%q is a %T", name, v.State)
	}
	return p
}

func wantSum(t testing.TB, s *Server, name string, want int64, labels ...Label) {
	t.Helper()
	if got, ok := state[*Sum](t, s, name, labels...).Int64(); !ok || got != want {
		t.Errorf("%q%v is %d, want %d", name, labels, got, want)
	}
}

func entryOf(name, typ string, a Aggregator, labels ...Label) []byte {
	state, err := a.AppendBinary(nil)
	if err != nil {
		panic(err)
	}
	return appendBytes(appendEntry(nil, name, typ, labels), state)
}

func batchOf(id ID, number uint64, entries ...[]byte) []byte {
	b := newBatch(id, number)
	for _, e := range entries {
		b.add(e)
	}
	return b.bytes
}

// words is a custom aggregator: those that were put into it.
type words struct{ all map[string]bool }

func (s *words) put(word string) {
	if s.all == nil {
		s.all = map[string]bool{}
	}
	s.all[word] = true
}

func (s *words) Merge(other Aggregator) error {
	o, ok := other.(*words)
	if !ok {
		return errors.New("not words")
	}
	for w := range o.all {
		s.put(w)
	}
	return nil
}

func (s *words) AppendBinary(dst []byte) ([]byte, error) {
	for _, w := range slices.Sorted(maps.Keys(s.all)) {
		dst = appendBytes(dst, w)
	}
	return dst, nil
}

func (s *words) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	for len(r.rest) > 0 {
		s.put(string(r.bytes(MaxState)))
	}
	return r.done()
}
