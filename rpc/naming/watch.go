package naming

import (
	"context"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/registry"
)

// watch sends a client what leads from its version to the present, again and again. Who
// is slow holds up nobody but itself, and gets less for it: what has been overtaken is
// not sent.
func (s *Server) watch(ctx context.Context, version uint64, to *rpc.ServerStream[[]byte, []byte]) error {
	s.mu.Lock()
	in := s.enter()
	if in {
		s.watchers++
	}
	s.mu.Unlock()
	if !in {
		return s.refused(&registry.Refusal{Code: registry.Full, Text: "too many watch", Retry: time.Second})
	}
	defer s.leave()
	for {
		update, now, changed, err := s.since(version)
		if err != nil {
			return err
		}
		if update != nil {
			if err := to.Send(update); err != nil {
				return err //nolint:wrapcheck // it names the item
			}
			version = now
		}
		select {
		case <-changed:
		case <-s.closed:
			return rpc.Fail("closed", nil, "the registry stops")
		case <-ctx.Done():
			return context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
		}
		sleep.For(s.opts.Coalesce, ctx.Done())
	}
}

// since returns an update to the version that is now, nil if there is none, and what is
// closed when that version is over.
func (s *Server) since(version uint64) (update []byte, now uint64, changed <-chan struct{}, err error) {
	s.do(func(at time.Duration) {
		now, changed = s.reg.Version(at), s.changed
		update, err = s.reg.Encoded(at, version)
	})
	return update, now, changed, err
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guests--
	s.watchers--
}
