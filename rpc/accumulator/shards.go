package accumulator

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// shard is a part of what a client gathers for one accumulator. Whoever writes
// picks one by where its stack is, so that goroutines mostly have one to themselves.
type shard[S any] struct {
	mu     sync.Mutex
	writes uint64 // since it was last taken
	state  S
	_      [64]byte // the next one is in another cache line
}

// series is one accumulator at a client: the shards that receive, while what was
// taken from them is on its way.
type series[S any, P pointer[S]] struct {
	client *Client
	name   string
	typ    string
	labels []Label

	shards []shard[S]
	bits   uint
	chunk  uint64       // a shard tells that it was written to after so many writes; less 1
	told   atomic.Int64 // how many that were
}

func (s *series[S, P]) init(c *Client, typ, name string, labels []Label) {
	s.client, s.name, s.typ, s.labels = c, name, typ, labels
	for 1<<s.bits < c.opts.Shards {
		s.bits++
	}
	s.shards = make([]shard[S], 1<<s.bits)
	s.chunk = chunk(c.opts.Writes, len(s.shards)) - 1
}

// chunk is how many writes a shard counts for itself. It divides n, so that a
// single writer has its flush at n precisely, and is small against what all of
// them may do before that.
func chunk(n, shards int) uint64 {
	c := n & -n
	for c > 1 && c*shards*2 > n {
		c /= 2
	}
	return uint64(c)
}

// enter gives the caller a shard for itself. Nobody waits for one that another has,
// unless others have all of them: what has one may have been put off its processor.
func (s *series[S, P]) enter() *shard[S] {
	var here byte
	// Fibonacci hashing. Stacks are multiples of 2 KiB apart.
	at := uint64(uintptr(unsafe.Pointer(&here))) >> 11 * 0x9e3779b97f4a7c15 >> (64 - s.bits) //nolint:gosec // an address is all that tells goroutines apart
	sh := &s.shards[at]
	if sh.mu.TryLock() {
		return sh
	}
	return s.other(at)
}

func (s *series[S, P]) other(at uint64) *shard[S] {
	for i := range s.shards {
		sh := &s.shards[(at+uint64(i))&uint64(len(s.shards)-1)]
		if sh.mu.TryLock() {
			return sh
		}
	}
	s.shards[at].mu.Lock()
	return &s.shards[at]
}

// leave ends what enter began, after one value was written.
func (s *series[S, P]) leave(sh *shard[S]) {
	sh.writes++
	tell := sh.writes&s.chunk == 0
	sh.mu.Unlock()
	if tell {
		s.tell()
	}
}

func (s *series[S, P]) tell() {
	if s.told.Add(int64(s.chunk)+1) >= int64(s.client.opts.Writes) {
		s.client.poke()
	}
}

// take removes what the shards have gathered, and returns it; nil: nothing.
func (s *series[S, P]) take() (Aggregator, error) {
	s.told.Store(0)
	var total P
	for i := range s.shards {
		state, some := s.shards[i].take()
		if !some {
			continue
		}
		if total == nil {
			total = P(new(S))
		}
		if err := total.Merge(P(&state)); err != nil {
			return nil, err
		}
	}
	if total == nil {
		return nil, nil
	}
	return total, nil
}

func (sh *shard[S]) take() (state S, some bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.writes == 0 {
		return state, false
	}
	sh.writes = 0
	state, sh.state = sh.state, state
	return state, true
}

// dirty tells whether anything was written since the last take.
func (s *series[S, P]) dirty() bool {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		n := sh.writes
		sh.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}

func (s *series[S, P]) kind() string { return s.typ }

// entry takes what was gathered, as an entry of a batch; nil: nothing.
func (s *series[S, P]) entry() ([]byte, error) {
	a, err := s.take()
	if a == nil || err != nil {
		return nil, err
	}
	state, err := a.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	if len(state) > MaxState {
		return nil, limitf("its state has %d bytes, %d are allowed", len(state), MaxState)
	}
	return appendBytes(appendEntry(nil, s.name, s.typ, s.labels), state), nil
}
