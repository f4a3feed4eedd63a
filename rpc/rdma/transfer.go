package rdma

import (
	"context"
	"errors"
	"os"
	"runtime"
	"time"

	"rpcpool.dev/rpc/rdma/verbs"
)

// transfer is a pull under way.
type transfer struct {
	region *Region
	into   []byte
	from   uint64 // at the peer
	key    uint32
	posted int    // bytes
	flying int    // READs under way
	err    *Error // nothing more is posted
	done   chan struct{}
}

// Pull reads what the peer has described, to an offset of a region with the right Sink.
// When it returns, the device writes nothing more of it, unless the error is
// [ErrStuck]. Of a pull that fails, any part may have been written.
func (e *Endpoint) Pull(ctx context.Context, d Descriptor, into *Region, offset uint64) error {
	counts := &e.adapter.counts
	if err := e.pull(ctx, d, into, offset); err != nil {
		counts.fail(ReasonOf(err))
		return err
	}
	counts.pulls.Add(1)
	counts.pulledBytes.Add(d.Length)
	if !d.remote() {
		counts.inline.Add(1)
	}
	return nil
}

func (e *Endpoint) pull(ctx context.Context, d Descriptor, into *Region, offset uint64) error {
	if ctx.Err() != nil {
		return &Error{Reason: Cancelled, Err: context.Cause(ctx)}
	}
	size := uint64(len(into.bytes))
	switch {
	case offset > size || d.Length > size-offset:
		return failure(OutOfRange, "%d bytes to %d of memory of %d", d.Length, offset, size)
	case into.adapter != e.adapter || into.rights&verbs.Sink == 0:
		return failure(OutOfRange, "the memory is not registered to be written by %s", e.adapter.options.Device)
	}
	if err := into.use(); err != nil {
		return err
	}
	t := &transfer{region: into, into: into.bytes[offset : offset+d.Length], from: d.Address, key: d.Key, done: make(chan struct{})}
	err := e.move(ctx, t, d)
	into.release(errors.Is(err, ErrStuck))
	return err
}

func (e *Endpoint) move(ctx context.Context, t *transfer, d Descriptor) error {
	if !d.remote() {
		copy(t.into, d.Inline)
		return nil
	}
	if err := e.begin(t, d.Adapter); err != nil {
		return err
	}
	defer e.pulls.Done()
	ended := context.AfterFunc(ctx, func() { e.stop(t, &Error{Reason: Cancelled, Err: context.Cause(ctx)}) })
	defer ended()
	select {
	case <-t.done:
	case e.driver <- struct{}{}:
		e.drive(t)
		<-e.driver
	}
	if t.err != nil {
		return t.err
	}
	return nil
}

// begin posts what it can of a transfer.
func (e *Endpoint) begin(t *transfer, peer AdapterID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.broken != nil:
		return failure(Closed, "the endpoint is broken: %w", e.broken)
	case e.peer == AdapterID{}:
		return failure(Closed, "the endpoint is not connected")
	case e.peer != peer:
		return failure(Malformed, "the descriptor is of another adapter than the endpoint's peer")
	case len(e.slots) == 0:
		return failure(Refused, "the peer serves no READs")
	}
	e.pulls.Add(1)
	e.queued = append(e.queued, t)
	e.post()
	return nil
}

// stop posts nothing more of a transfer.
func (e *Endpoint) stop(t *transfer, why *Error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.posted < len(t.into) && t.err == nil {
		t.err = why
		e.settle(t)
	}
}

// drive does what is to be done for all transfers, until its own is done: as all are when
// the queue pair is destroyed.
func (e *Endpoint) drive(t *transfer) {
	for since := time.Now(); ; {
		reaped := e.reap()
		select {
		case <-t.done:
			return
		default:
		}
		switch {
		case reaped > 0:
			since = time.Now()
		case time.Since(since) < e.adapter.options.Spin:
			runtime.Gosched()
		default:
			e.sleep()
		}
	}
}

// reap takes what has completed, and posts more.
func (e *Endpoint) reap() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return 0
	}
	n, err := e.queue.Poll(e.polled)
	if err != nil {
		e.abandon(failure(DeviceFault, "poll: %w", err))
		return 0
	}
	if n > 0 {
		e.latest = time.Now()
	}
	for _, c := range e.polled[:n] {
		e.complete(c)
	}
	e.post()
	return n
}

// sleep waits for an event: for as long as Stall, or Drain.
func (e *Endpoint) sleep() {
	err := e.wait()
	if e.reap() > 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err == nil || e.gone:
	case !errors.Is(err, os.ErrDeadlineExceeded):
		e.abandon(failure(DeviceFault, "wait: %w", err))
	case time.Until(e.due()) > 0:
	case e.broken != nil:
		_ = e.destroy() // each transfer is told
	default:
		e.breakDown(failure(Stalled, "no READ has completed for %v", e.adapter.options.Stall))
	}
}

// wait waits for an event, unless something has completed just before it asked for one.
// It never asks for a second one: those that nobody takes would pile up.
func (e *Endpoint) wait() error {
	if !e.armed {
		if err := e.queue.Arm(); err != nil {
			return err
		}
		e.armed = true
		if e.reap() > 0 {
			return nil
		}
	}
	e.mu.Lock()
	due, gone := e.due(), e.gone
	e.mu.Unlock()
	if gone {
		return nil
	}
	e.adapter.counts.sleeps.Add(1)
	err := e.queue.Wait(due)
	e.armed = err != nil
	return err
}

// due is when the endpoint is given up: as stalled, or as not flushing. It needs mu.
func (e *Endpoint) due() time.Time {
	if e.broken != nil {
		return e.latest.Add(e.adapter.options.Drain)
	}
	return e.latest.Add(e.adapter.options.Stall)
}
