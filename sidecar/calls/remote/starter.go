package remote

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/workers"
	"rpcpool.dev/sidecar/supervise"
)

const (
	dialTime = 3 * time.Second // for an agent to say hello
	pauseMin = 50 * time.Millisecond
	pauseMax = time.Second
	askEvery = 5 * time.Second // an agent that is silent for twice as long hangs
	reapTime = 10 * time.Second
)

// ErrClosed means that the starter starts no more workers.
var ErrClosed = errors.New("starter of workers is closed")

// Options of a Starter. Socket must be set.
type Options struct {
	Socket string          // of the agent
	Start  supervise.Start // how workers are run; Calls is filled in, and ReapTimeout is 10 s by default
	Log    *slog.Logger    // default: none

	ask time.Duration // between questions to the agent; tests alone set it
}

// Starter starts workers. It must be closed, after the pool that uses it.
type Starter struct {
	opts   Options
	prefix string          // of its workers' names: no other starter has it
	ctx    context.Context //nolint:containedctx // ends when the starter is closed
	cancel context.CancelFunc
	over   sync.WaitGroup
	stop   sync.Once // closes told

	mu   sync.Mutex
	link *supervise.Link // nil: no agent is there
	came chan struct{}   // closed when one is
	told chan struct{}   // closed when an agent was told to stop
	hung chan struct{}   // has an element when an agent was given up
	last uint64
	live map[string]*process
}

var _ workers.Starter = (*Starter)(nil)

// New makes a starter, which looks for its agent from now on.
func New(opts Options) (*Starter, error) {
	if opts.Socket == "" {
		return nil, errors.New("bad options of a starter of workers: no agent's socket")
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.ask == 0 {
		opts.ask = askEvery
	}
	opts.Start.Calls, opts.Start.ReapTimeout = true, cmp.Or(opts.Start.ReapTimeout, reapTime)
	var id [6]byte
	_, _ = rand.Read(id[:])
	s := &Starter{opts: opts, prefix: "calls-" + hex.EncodeToString(id[:]), came: make(chan struct{}), told: make(chan struct{}), hung: make(chan struct{}, 1), live: map[string]*process{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.over.Go(s.run)
	return s, nil
}

// Alive returns nil while there is an agent that answers.
func (s *Starter) Alive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		return fmt.Errorf("no agent answers at %s", s.opts.Socket)
	}
	return nil
}

// Stopping is closed when the agent has been told to stop: it does so when its workers
// have ended.
func (s *Starter) Stopping() <-chan struct{} { return s.told }

// Hung has a value when an agent does not answer and is given up: whoever has started it
// should kill it.
func (s *Starter) Hung() <-chan struct{} { return s.hung }

// Start implements [workers.Starter]. It waits for an agent.
func (s *Starter) Start(ctx context.Context) (workers.Process, error) {
	link, err := s.agent(ctx)
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("call channel: %w", err)
	}
	defer unix.Close(pair[1]) //nolint:errcheck // the worker's end, which the agent has
	ours := os.NewFile(uintptr(pair[0]), "call channel")
	nc, err := net.FileConn(ours)
	_ = ours.Close()
	if err != nil {
		return nil, fmt.Errorf("call channel: %w", err)
	}
	p := s.add(link, nc)
	if err := link.Start(p.id, s.opts.Start, &supervise.Session{ID: p.id, Client: "sidecar"}, pair[1]); err != nil {
		s.remove(p.id)
		return nil, errors.Join(err, nc.Close())
	}
	return p, nil
}

// agent waits for the link to an agent.
func (s *Starter) agent(ctx context.Context) (*supervise.Link, error) {
	for {
		s.mu.Lock()
		link, came := s.link, s.came
		s.mu.Unlock()
		if link != nil {
			return link, nil
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, errors.Join(s.Alive(), context.Cause(ctx))
		case <-s.ctx.Done():
			return nil, ErrClosed
		}
	}
}

func (s *Starter) add(link *supervise.Link, nc net.Conn) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	p := &process{id: s.prefix + "-" + strconv.FormatUint(s.last, 10), link: link, channel: nc, exited: make(chan struct{})}
	s.live[p.id] = p
	if s.link != link { // it has ended meanwhile
		delete(s.live, p.id)
		p.end(lost)
	}
	return p
}

// remove forgets a worker, and returns it if it was known.
func (s *Starter) remove(id string) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.live[id]
	delete(s.live, id)
	return p
}

// Close ends the link, and with it what is left.
func (s *Starter) Close() error {
	s.cancel()
	s.over.Wait()
	return nil
}
