package naming

import (
	"context"
	"time"

	"rpcpool.dev/rpc/registry"
)

// request is what calls wait for: a node's request for a lock or a barrier.
type request struct{ epoch, number uint64 }

// waiter is those calls that wait for the same one.
type waiter struct {
	done    chan struct{}
	outcome registry.Outcome // when done is closed
	calls   int
}

// waits is a handler that answers when there is something to tell, or after a while.
func (s *Server) waits(begin func(time.Duration, *registry.Request) (registry.Outcome, error)) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, body []byte) ([]byte, error) {
		q, err := decode[registry.Request](body)
		if err != nil {
			return nil, s.refused(err)
		}
		id := request{q.Owner.Epoch, q.Number}
		var o registry.Outcome
		var w *waiter
		s.do(func(now time.Duration) {
			if o, err = begin(now, q); err == nil && o.Progress == registry.Waiting && s.enter() {
				w = s.await(id)
			}
		})
		if err != nil {
			return nil, s.refused(err)
		}
		if w != nil {
			o = s.wait(ctx, id, w, o)
		}
		return registry.Encode(&o)
	}
}

// await adds one more call to those that wait. It is called with the lock.
func (s *Server) await(id request) *waiter {
	w := s.waiting[id]
	if w == nil {
		w = &waiter{done: make(chan struct{})}
		s.waiting[id] = w
	}
	w.calls++
	return w
}

// wait returns what has become of a request, or o if that is nothing for a while.
func (s *Server) wait(ctx context.Context, id request, w *waiter, o registry.Outcome) registry.Outcome {
	t := time.NewTimer(s.opts.Poll)
	defer t.Stop()
	select {
	case <-w.done:
		o = w.outcome
	case <-t.C:
	case <-s.closed:
	case <-ctx.Done(): // nobody hears it
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guests--
	if w.calls--; w.calls == 0 && s.waiting[id] == w {
		delete(s.waiting, id)
	}
	return o
}

// tell ends the wait for a request. It is called with the lock.
func (s *Server) tell(o registry.Outcome) {
	id := request{o.Epoch, o.Number}
	if w := s.waiting[id]; w != nil {
		w.outcome = o
		close(w.done)
		delete(s.waiting, id)
	}
}
