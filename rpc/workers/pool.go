package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/local"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/server"
)

// Options of a Pool. Starter must be set; the zero value of each other field means its
// default.
type Options struct {
	Starter     Starter
	Workers     int                      // that serve. Default 1
	Spares      int                      // more, that are ready to take the place of one. Default 1; negative: none
	Concurrency int                      // calls that run in a worker at once. Default 1
	Grace       time.Duration            // for a call to end after its deadline, or when nobody wants it any more. Default 2 s
	Stop        time.Duration            // for workers to end when the pool is closed. Default 2 s
	Start       time.Duration            // for a worker to become ready. Default 30 s
	Blobs       Blobs                    // of the core. Default: none
	MaxReply    int                      // longest reply that is taken by message, bytes. Default 1 GiB
	Room        *conn.Room               // for results on their way to clients, which wait in their workers while there is none. Default: nothing bounds them
	OnReady     func(took time.Duration) // is told of each worker that has become ready. It must not wait. Default: nobody is
	Log         *slog.Logger             // default: none
}

func (o *Options) fill() error {
	if o.Starter == nil || o.Workers < 0 || o.Concurrency < 0 || o.Grace < 0 || o.Stop < 0 || o.Start < 0 || o.MaxReply < 0 {
		return errors.New("bad options of workers: Starter must be set, nothing but Spares may be negative")
	}
	or := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	or(&o.Workers, 1)
	or(&o.Spares, 1)
	or(&o.Concurrency, 1)
	o.Spares = max(o.Spares, 0)
	for v, d := range map[*time.Duration]time.Duration{&o.Grace: 2 * time.Second, &o.Stop: 2 * time.Second, &o.Start: 30 * time.Second} {
		if *v == 0 {
			*v = d
		}
	}
	if o.OnReady == nil {
		o.OnReady = func(time.Duration) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Blobs is the host of blobs, as far as workers are its parties.
type Blobs interface {
	// Pair makes a party, and the socket by which it is served.
	Pair(name string) (blob.PartyID, *os.File, error)
	// Leave says that a party's process has ended.
	Leave(blob.PartyID)
	// OnResult says who knows at whose cost a call's result is made.
	OnResult(shm.Payer)
	// Callee makes this process a party, for workers that take no blobs.
	Callee(name string) (local.Callee, error)
}

// Pool is an executor over worker processes.
type Pool struct {
	opts    Options
	core    *server.Core
	ctx     context.Context //nolint:containedctx // ends when the pool is closed
	cancel  context.CancelFunc
	lives   sync.WaitGroup
	awaited atomic.Uint64
	here    *local.Callee // this process as a party; nil: it is none

	mu       sync.Mutex
	serving  []*worker
	spares   []*worker
	numbers  map[*server.Method]uint32
	position []position
	counts   Counts
}

// State is what a position of a pool is at.
type State string

// The states.
const (
	Stopped     State = "stopped"
	Starting    State = "starting"
	Spare       State = "spare"
	Ready       State = "ready"
	Busy        State = "busy"
	Terminating State = "terminating"
	Backoff     State = "backoff"
)

// position is one worker after the other.
type position struct {
	state State
	loop  bool
	err   error
}

// Counts are what has happened since the pool was started.
type Counts struct {
	Starts  uint64 // workers that were started
	Ends    map[crash.Cause]uint64
	Crashed uint64 // calls that ran in a worker that died
	Moved   uint64 // calls that were given back, as nothing of them had reached a worker
	Late    uint64 // answers that came to nobody
	Awaited uint64 // answers that the reader of their caller's connection has read by itself
}

// Status is what a pool is at.
type Status struct {
	Counts
	States    []State // of the positions
	CrashLoop bool    // some position's workers end before they serve
	Err       error   // an [UnservedError], or why none could be started: of the last worker that served nothing; nil: none since one became ready
}

var _ server.Executor = (*Pool)(nil)

// New makes a pool that has no workers before it is started.
func New(opts Options) (*Pool, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	p := &Pool{opts: opts, numbers: map[*server.Method]uint32{}, counts: Counts{Ends: map[crash.Cause]uint64{}}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// Start starts the workers, which run the calls of a core from now on. Its limit is to
// be -1: the workers tell it.
func (p *Pool) Start(c *server.Core) {
	var here *local.Callee
	if p.opts.Blobs != nil { // not under the lock: the host asks for it under its own
		p.opts.Blobs.OnResult(p.payer)
		if me, err := p.opts.Blobs.Callee("server"); err == nil {
			here = &me
		}
	}
	p.mu.Lock() // Status may be asked already
	defer p.mu.Unlock()
	p.core, p.here = c, here
	n := p.opts.Workers + p.opts.Spares
	p.position = make([]position, n)
	for i := range n {
		p.position[i].state = Starting
		p.lives.Go(func() { p.live(i) })
	}
}

// Close ends all workers, and waits until they have. Calls that run crash: the core is
// drained before.
func (p *Pool) Close() error {
	p.cancel()
	p.lives.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.here != nil {
		_ = p.here.Close()
	}
	return nil
}

// Status returns what the pool is at, and what has happened.
func (p *Pool) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{Counts: p.counts}
	s.Awaited = p.awaited.Load()
	s.Ends = map[crash.Cause]uint64{}
	for c, n := range p.counts.Ends {
		s.Ends[c] = n
	}
	busy := map[int]bool{}
	for _, w := range p.serving {
		busy[w.position] = len(w.calls) > 0
	}
	for i := range p.position {
		at := &p.position[i]
		state := at.state
		if state == Ready && busy[i] {
			state = Busy
		}
		s.States = append(s.States, state)
		s.CrashLoop = s.CrashLoop || at.loop && (state == Starting || state == Backoff)
		if at.err != nil {
			s.Err = fmt.Errorf("worker %d: %w", i, at.err)
		}
	}
	return s
}

func (p *Pool) to(i int, s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.position[i].state = s
}
