package conn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/frame"
)

const (
	// maxServe and maxServeBytes bound how long a caller writes for others.
	maxServe      = time.Millisecond
	maxServeBytes = 1 << 20
	// maxUrgent bounds control frames in the queue, in bytes. A peer that lets
	// more of them pile up does not read.
	maxUrgent = 1 << 20
	// yieldMost is how many messages may come together while their writer lets others run: more
	// of them would keep the peer waiting.
	yieldMost = 16
	// tightFor is how many bytes of long messages are sent with a small backlog after a
	// short one that had to pass them.
	tightFor = 32 << 20
)

// sender writes what is in its queue: whoever finds nobody writing does it.
type sender struct {
	w      writer
	spawn  func(func()) // starts a goroutine that the connection waits for
	fail   func(error)  // called once, without the lock, when a write fails
	bound  int          // bytes in the queue
	letRun func()       // lets other goroutines run once: runtime.Gosched
	peer   frame.Limits // what it takes
	burst  atomic.Int32 // messages that the last read brought: how many may be at work

	mu     sync.Mutex
	q      queue
	b      batch         // the writer's
	tight  int           // bytes that are still to be sent with a small backlog; the writer's
	active bool          // somebody writes, or is about to
	yields uint64        // number of who is about to, and lets others run first; 0: nobody does
	turns  uint64        // last number that was given to such
	fresh  int           // messages that were queued since the last were taken off
	err    error         // why nothing can be sent any more
	room   chan struct{} // closed when a full queue has room again
	idle   chan struct{} // closed when the queue is empty and nobody writes
	unsent []uint64
	gone   []*outgoing // dropped while somebody writes, who may be writing them
	sent   sent

	answers atomic.Uint64 // to calls, that were queued
}

// sent is what a sender has done.
type sent struct{ messages, batches uint64 }

// counted returns what it has done.
func (s *sender) counted() sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// send queues a message, and writes unless somebody does or write is false.
func (s *sender) send(ctx context.Context, m *Message, write bool) error {
	s.mu.Lock()
	for s.err == nil && s.full(m) {
		if ctx == nil || m.Priority == frame.PriorityControl {
			s.mu.Unlock()
			return ErrBackpressure
		}
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
	if err := s.check(m); err != nil {
		s.mu.Unlock()
		return err
	}
	if answers(&m.Header) {
		s.answers.Add(1)
	}
	copied := s.q.push(m)
	s.fresh++
	s.sent.messages++
	run := write && !s.active
	s.active = s.active || run
	takeOver := write && s.yields != 0 && s.fresh >= yieldMost
	if takeOver {
		s.yields = 0
	}
	s.mu.Unlock()
	if copied && m.Owner != nil {
		m.Owner.Release()
	}
	if takeOver || run && s.yield() {
		s.write(true, false)
	}
	return nil
}

func (s *sender) check(m *Message) error {
	if s.err != nil {
		return s.err
	}
	if err := m.Check(); err != nil {
		return err //nolint:wrapcheck // it says all
	}
	if uint64(len(m.Body)) > m.Type.MaxBody(&s.peer) {
		return ErrTooLong
	}
	return nil
}

// full tells whether the queue takes m only later.
func (s *sender) full(m *Message) bool {
	if m.Priority == frame.PriorityControl {
		return s.q.urgent >= maxUrgent
	}
	return s.q.bytes >= s.bound
}

// wait waits until the queue has room. It is called with the lock, and returns
// with it unless it fails.
func (s *sender) wait(ctx context.Context) error {
	if s.room == nil {
		s.room = make(chan struct{})
	}
	room := s.room
	s.mu.Unlock()
	select {
	case <-room:
	case <-ctx.Done():
		return context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
	}
	s.mu.Lock()
	return nil
}

// flush writes what is queued, unless somebody does.
func (s *sender) flush() {
	s.mu.Lock()
	if s.active || s.q.empty() || s.err != nil {
		s.mu.Unlock()
		return
	}
	s.active = true
	s.mu.Unlock()
	s.write(true, false)
}

// yield lets others run who are about to send, too, if there are some: one write for all. It
// returns false if one of them has taken over to write.
func (s *sender) yield() bool {
	if s.burst.Load() <= 1 {
		return true
	}
	s.mu.Lock()
	s.turns++
	turn := s.turns
	s.yields = turn
	s.mu.Unlock()
	s.letRun()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.yields != turn {
		return false
	}
	s.yields = 0
	return true
}

// write is the writing role, until nothing is left. A borrowed role is a
// caller's, who must not be held: it is handed over to a goroutine of its own
// when the socket is full or others have been served for long. full tells that
// the socket was full.
func (s *sender) write(borrowed, full bool) {
	if borrowed && !s.w.tries() {
		s.handOver(false)
		return
	}
	var start time.Time
	served := 0
	for s.gather(full) {
		served += s.b.size
		n, err := s.w.write(s.b.left(), !borrowed)
		s.b.wrote(n)
		if err != nil {
			s.broken(err)
			return
		}
		full = len(s.b.parts) > 0
		if !borrowed {
			continue
		}
		if full || s.servedLong(&start, served) {
			s.handOver(full)
			return
		}
	}
}

// handOver gives the role to a goroutine that may wait.
func (s *sender) handOver(full bool) {
	s.spawn(func() { s.write(false, full) })
}

// servedLong tells whether a caller has written enough. The clock starts after
// its first write, which was mostly its own message.
func (s *sender) servedLong(start *time.Time, served int) bool {
	if served >= maxServeBytes {
		return true
	}
	if start.IsZero() {
		if s.mu.Lock(); !s.q.empty() {
			*start = time.Now()
		}
		s.mu.Unlock()
		return false
	}
	return time.Since(*start) >= maxServe
}

// gather takes the next batch off the queue, or leaves the role if there is
// nothing that may be sent.
func (s *sender) gather(full bool) bool {
	if len(s.b.parts) > 0 {
		return true
	}
	s.mu.Lock()
	if s.err == nil {
		limit := maxBatch
		if s.tighten(); full || s.tight > 0 {
			limit = maxChunk
		}
		s.q.gather(&s.b, limit)
		s.fresh = 0
	}
	if s.room != nil && s.q.bytes <= s.bound/2 {
		close(s.room)
		s.room = nil
	}
	if len(s.b.parts) > 0 {
		s.sent.batches++
		gone := s.gone // the batch before is written
		s.gone = nil
		s.mu.Unlock()
		free(gone)
		return true
	}
	s.leave()
	return false
}

// free lets go of messages that were dropped. It is called without the lock.
func free(gone []*outgoing) {
	for _, o := range gone {
		o.done()
	}
}

// tighten keeps what the kernel has been given and not delivered small for a while, if
// there are short messages that it holds up. It is called with the lock.
func (s *sender) tighten() {
	was := s.tight
	switch {
	case s.q.passed:
		s.q.passed, s.tight = false, tightFor
	case s.q.cuts > 0 && s.tight > 0:
		s.tight = max(s.tight-maxChunk, 0)
	}
	if (was > 0) != (s.tight > 0) {
		s.w.bound(s.tight > 0)
	}
}

// leave ends the writing role, and unlocks.
func (s *sender) leave() {
	s.active = false
	gone := s.gone
	s.gone = nil
	if s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
	s.mu.Unlock()
	free(gone)
}

// credit raises a limit, for whatever waits for it. Whoever calls it flushes.
func (s *sender) credit(seq, limit uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.q.credit(seq, limit)
}

// broken ends the sender from within the writing role.
func (s *sender) broken(err error) {
	s.fail(err) // first: so nobody takes the role over
	s.mu.Lock()
	var last []*outgoing
	s.unsent, last = s.b.abandon(s.unsent)
	s.gone = append(s.gone, last...)
	s.leave()
}

// stop ends the sender: nothing is taken in any more. What a writer that is at
// work has in its batch it gives up by itself, because its socket is closed.
func (s *sender) stop(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = err
	var long []*outgoing
	s.unsent, long = s.q.clear(s.unsent)
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
	s.gone = append(s.gone, long...)
	if s.active {
		s.mu.Unlock()
		return
	}
	s.leave()
}

// lost returns the calls of which nothing was sent. The sender is stopped, and
// nobody writes.
func (s *sender) lost() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unsent
}

// drained returns a channel that is closed when nothing is being written, and
// nothing that may be is left.
func (s *sender) drained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := s.idle
	switch {
	case !s.active:
		done = make(chan struct{})
		close(done)
	case s.idle == nil:
		done = make(chan struct{})
		s.idle = done
	}
	return done
}

// drop takes a long message off the queue.
func (s *sender) drop(seq uint64) (unsent, cut bool) {
	s.mu.Lock()
	o, unsent := s.q.drop(seq)
	cut = o != nil && !unsent
	if o != nil && s.active && !unsent {
		s.gone = append(s.gone, o)
		o = nil
	}
	s.mu.Unlock()
	if o != nil {
		o.done()
	}
	return unsent, cut
}
