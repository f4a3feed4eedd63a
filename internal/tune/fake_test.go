package tune

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"rpcpool.dev/workers/go/matmul"
)

// fakePool is a pool of a few servers whose behaviour is a function of the
// configuration.
type fakePool struct {
	free    chan string // servers
	outcome func(matmul.Config) Outcome
	product []float32 // what correct devices compute
	size    int

	mu       sync.Mutex
	refuse   int // how many opens fail before one succeeds
	opened   int
	closed   int
	arrays   int
	inFlight int
	most     int // sessions at a time
}

func newFakePool(servers, size int) *fakePool {
	p := &fakePool{
		free: make(chan string, servers), outcome: modelOutcome, size: size, product: matmul.Reference(size),
	}
	for i := range servers {
		p.free <- fmt.Sprintf("10.0.0.%d:9090", i+1)
	}
	return p
}

var errRefused = errors.New("tracker says no")

func (p *fakePool) Open(ctx context.Context) (Session, error) {
	p.mu.Lock()
	if p.refuse > 0 {
		p.refuse--
		p.mu.Unlock()
		return nil, errRefused
	}
	p.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case server := <-p.free:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.opened++
		p.inFlight++
		p.most = max(p.most, p.inFlight)
		return &fakeSession{pool: p, server: server}, nil
	}
}

type fakeSession struct {
	pool   *fakePool
	server string
}

func (s *fakeSession) Server() string { return s.server }

func (s *fakeSession) Measure(ctx context.Context, cfg matmul.Config) (matmul.Result, error) {
	if err := ctx.Err(); err != nil {
		return matmul.Result{}, err
	}
	r := matmul.Result{Seconds: modelTime(cfg), Repeats: 3, Checksum: matmul.Checksum(s.pool.product, s.pool.size)}
	switch o := s.pool.outcome(cfg); o {
	case OutcomeOK:
		return r, nil
	case OutcomeWrong:
		r.Checksum++
		return r, nil
	case OutcomeError:
		return matmul.Result{}, errors.New("no such function")
	default:
		return matmul.Result{}, &Failure{Outcome: o, Err: fmt.Errorf("it was a %s", o)}
	}
}

func (s *fakeSession) MeasureArrays(ctx context.Context, cfg matmul.Config, a, b []float32) (matmul.Result, []float32, error) {
	s.pool.mu.Lock()
	s.pool.arrays++
	s.pool.mu.Unlock()
	if n := s.pool.size * s.pool.size; len(a) != n || len(b) != n {
		return matmul.Result{}, nil, fmt.Errorf("operands of %d and %d elements", len(a), len(b))
	}
	r, err := s.Measure(ctx, cfg)
	c := append([]float32(nil), s.pool.product...)
	if err == nil && s.pool.outcome(cfg) == OutcomeWrong {
		// a device whose checksum is right for what it should have computed
		r.Checksum--
		c[len(c)/2] += 0.25
	}
	return r, c, err
}

// sessions is how many are open.
func (p *fakePool) sessions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inFlight
}

func (s *fakeSession) Close() error {
	s.pool.mu.Lock()
	s.pool.closed++
	s.pool.inFlight--
	s.pool.mu.Unlock()
	s.pool.free <- s.server
	return nil
}
