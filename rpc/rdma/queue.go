package rdma

import (
	"slices"
	"time"

	"rpcpool.dev/rpc/rdma/verbs"
)

// All of this file needs Endpoint.mu.

// post gives transfers their turn, one READ each, while there are credits.
func (e *Endpoint) post() {
	for len(e.queued) > 0 && len(e.free) > 0 && e.broken == nil {
		t, slot := e.queued[0], e.free[len(e.free)-1]
		if len(e.free) == len(e.slots) {
			e.latest = time.Now()
		}
		n := min(e.adapter.options.Chunk, len(t.into)-t.posted)
		err := e.queue.Read(uint64(slot), t.into[t.posted:t.posted+n], t.region.memory, t.from+uint64(t.posted), t.key)
		if err != nil {
			e.breakDown(failure(NoQueue, "post a READ: %w", err))
			return
		}
		e.slots[slot], e.free = t, e.free[:len(e.free)-1]
		t.posted += n
		t.flying++
		e.queued = slices.Delete(e.queued, 0, 1)
		if t.posted < len(t.into) {
			e.queued = append(e.queued, t)
		}
	}
}

// complete ends a READ.
func (e *Endpoint) complete(c verbs.Completion) {
	if c.ID >= uint64(len(e.slots)) || e.slots[c.ID] == nil {
		e.breakDown(failure(DeviceFault, "READ %d has completed, which is not under way", c.ID))
		return
	}
	t := e.slots[c.ID]
	e.slots[c.ID], e.free = nil, append(e.free, int(c.ID))
	t.flying--
	if c.Status != verbs.Success {
		err := &Error{Reason: reasonOf(c.Status), Status: c.Status, Vendor: c.Vendor}
		if t.err == nil {
			t.err = err
		}
		e.breakDown(err)
	}
	e.settle(t)
}

// settle ends a transfer that has nothing under way, and nothing to post.
func (e *Endpoint) settle(t *transfer) {
	if t.err != nil {
		e.queued = slices.DeleteFunc(e.queued, func(o *transfer) bool { return o == t })
	}
	if t.flying > 0 || t.err == nil && t.posted < len(t.into) {
		return
	}
	select {
	case <-t.done:
	default:
		close(t.done)
	}
}

// breakDown puts the queue pair into ERR. All transfers end with the cause, or else as
// flushed, if it is the fault of one of them.
func (e *Endpoint) breakDown(cause *Error) {
	if e.broken != nil {
		return
	}
	e.broken, e.latest = cause, time.Now()
	if cause.Reason != Closed {
		e.adapter.counts.broken.Add(1)
	}
	if err := e.queue.Fail(); err != nil {
		e.latest = time.Time{} // there is nothing to wait for: who drives destroys it
	}
	if cause.Reason == Refused || cause.Reason == LocalFault {
		cause = failure(Flushed, "another pull has failed: %w", cause)
	}
	for _, t := range slices.Concat(e.slots, e.queued) {
		if t != nil {
			if t.err == nil {
				t.err = cause
			}
			e.settle(t)
		}
	}
}

// abandon gives up a queue pair that tells nothing any more. Only who drives may do that.
func (e *Endpoint) abandon(cause *Error) {
	e.breakDown(cause)
	_ = e.destroy()
}

// destroy destroys the queue pair: what was under way is not any more. If it cannot be
// destroyed, that is stuck. Nobody else may drive: the queue pair is gone then.
func (e *Endpoint) destroy() error {
	if !e.gone {
		e.gone = true
		if err := e.queue.Close(); err != nil {
			e.stuck = failure(Stuck, "%w: destroy the queue pair: %w", ErrStuck, err)
		}
		for slot, t := range e.slots {
			if t == nil {
				continue
			}
			e.slots[slot] = nil
			t.flying--
			if e.stuck != nil {
				t.err = e.stuck
			} else if t.err == nil {
				t.err = e.broken
			}
			e.settle(t)
		}
	}
	if e.stuck != nil {
		return e.stuck
	}
	return nil
}
