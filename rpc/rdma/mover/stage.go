package mover

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/verbs"
)

// Stage is how many bytes of memory that is not registered go by a line's stage at most: what is longer is registered.
const Stage = 256 << 10

// errNoStage means that there is no memory for a stage, or none that may be pinned: less may be enough.
var errNoStage = errors.New("no stage")

// stage is memory that a line has registered, for one transfer at a time. It may be closed while it is used.
type stage struct {
	mu     sync.Mutex
	memory []byte       // nil: there is none yet
	source *rdma.Region // nil: nothing has gone out yet
	sink   *rdma.Region // nil: nothing has come in yet
	closed bool
}

// open makes the stage, if there is none, and registers it in one of its regions. It needs mu.
func (s *stage) open(a *rdma.Adapter, region **rdma.Region, rights verbs.Rights) (err error) {
	if s.closed {
		return &rdma.Error{Reason: rdma.Closed, Err: errors.New("the line is closed")}
	}
	if s.memory == nil {
		if s.memory, err = newMemory(Stage); err != nil {
			return fmt.Errorf("%w: %w", errNoStage, err)
		}
	}
	if *region == nil {
		if *region, err = a.RegisterOnce(s.memory, rights); err != nil {
			return fmt.Errorf("%w: %w", errNoStage, err)
		}
	}
	return nil
}

// describe copies bytes to the stage, for the peer to pull.
func (s *stage) describe(a *rdma.Adapter, b []byte) (rdma.Descriptor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(a, &s.source, verbs.Source); err != nil {
		return rdma.Descriptor{}, err
	}
	copy(s.memory, b)
	return s.source.Describe(0, uint64(len(b)))
}

// pull pulls to the stage what the peer has described, and copies it.
func (s *stage) pull(ctx context.Context, l *line, b []byte, d rdma.Descriptor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(l.adapter, &s.sink, verbs.Sink); err != nil {
		return err
	}
	if err := l.endpoint.Pull(ctx, d, s.sink, 0); err != nil {
		return err
	}
	copy(b, s.memory)
	return nil
}

// close gives the stage back, after the line's endpoint. If the device goes on, it is lost.
func (s *stage) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, r := range []**rdma.Region{&s.source, &s.sink} {
		if *r == nil {
			continue
		}
		if err := (*r).Close(); err != nil {
			return err
		}
		*r = nil
	}
	if s.memory == nil {
		return nil
	}
	err := freeMemory(s.memory)
	s.memory = nil
	return err
}
