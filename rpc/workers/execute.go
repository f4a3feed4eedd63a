package workers

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// call is a job at a worker. What is not said to be another's is guarded by the
// pool's lock.
type call struct {
	job      *server.Job
	w        *worker
	seq      uint64
	method   uint32 // the channel's number
	xid      [frame.XIDLen]byte
	killAt   time.Time // it may run until then; zero: for ever
	sent     bool      // nothing of the arguments' memory is needed any more
	unsent   bool      // not a byte has left, and none will. The sender's, then the worker's life's
	canceled bool
	lent     bool      // it waits for others, and its slot is another's
	answers  bool      // a long answer has begun to arrive
	relay    *relay    // its items; nil: it is no stream
	view     blob.View // of arguments that are in a blob, of which the worker knows nothing; mostly nil

	over     atomic.Bool // it is nobody's any more: who reads for it may stop
	claimed  atomic.Bool // it is known who counts it out of those who wait: who reads for it, or its end
	answered bool        // what follows is there
	code     session.Code
	ran      session.Execution
	reply    []byte
}

// Execute implements [server.Executor].
func (p *Pool) Execute(j *server.Job) {
	p.mu.Lock()
	w := p.least()
	if w == nil || j.Err() != nil {
		// The limit was lowered, or nobody wants the call, while the core gave it out.
		p.counts.Moved++
		p.mu.Unlock()
		go p.core.Unstarted(j) // not here, where it could come back at once
		return
	}
	c := w.take(j)
	p.mu.Unlock()
	if _, copies := j.Borrows(); copies {
		go w.send(c, false)
		return
	}
	if c.relay == nil && j.Await((*awaited)(c)) {
		return
	}
	round := j.Round()
	if round != nil {
		round.FlushAfter(w.conn)
	}
	w.send(c, round != nil)
}

// awaited is a call whose caller's reader sends it and reads the channel until it is answered,
// if nobody else does.
type awaited call

// Run implements [conn.Last].
func (a *awaited) Run() {
	c := (*call)(a)
	if c.claimed.CompareAndSwap(false, true) {
		defer c.w.waiting.Add(-1)
	}
	c.w.write(c, false)
	if c.w.conn.ReadUntil(c.w.pool.ctx, c.over.Load) {
		c.w.pool.awaited.Add(1)
	}
}

// Pass implements [conn.Last].
func (a *awaited) Pass() {
	c := (*call)(a)
	go c.w.send(c, false)
}

// least is the worker that has the fewest calls, nil if all have all that they may.
func (p *Pool) least() (best *worker) {
	for _, w := range p.serving {
		if w.load() < p.opts.Concurrency && (best == nil || w.load() < best.load()) {
			best = w
		}
	}
	return best
}

// load is how many of a worker's slots are taken.
func (w *worker) load() int { return len(w.calls) - w.lent }

// take notes a job. It is called with the pool's lock, as are bind and arm.
func (w *worker) take(j *server.Job) *call {
	w.seq++
	c := &call{job: j, w: w, seq: w.seq, sent: len(j.Args) < conn.LongBody && !j.InBody()}
	j.Worker = c
	w.calls[c.seq] = c
	w.sends.Add(1)
	w.waiting.Add(1)
	if j.Stream() != nil {
		c.relay = newRelay(c)
	}
	c.method = w.bind(j.Method)
	if left, ok := j.Left(); ok && !j.Method.Unkillable {
		c.killAt = time.Now().Add(left + w.pool.opts.Grace)
		w.arm(c.killAt)
	}
	return c
}

// bind returns the number of a method, after it has told the worker: that goes ahead
// of the call.
func (w *worker) bind(m *server.Method) uint32 {
	n := w.pool.numbers[m]
	if n == 0 {
		n = uint32(len(w.pool.numbers) + 1)
		w.pool.numbers[m] = n
	}
	if !w.bound[n] {
		w.bound[n] = true
		_ = w.conn.Queue(&conn.Message{Header: frame.Header{Type: frame.TypeBind, Seq: uint64(n)}, Body: []byte(m.Name)})
	}
	return n
}

// send writes a call, or only queues it, and sees to it that somebody reads its answer.
func (w *worker) send(c *call, queue bool) {
	w.write(c, queue)
	w.conn.Reside()
}

// write gives a call to the channel, from the memory that its arguments have come to. It is
// written at once, unless it is only queued.
func (w *worker) write(c *call, queue bool) {
	defer w.sends.Done()
	j := c.job
	m := conn.Message{Header: frame.Header{Type: frame.TypeCall, Priority: frame.PriorityNormal, Codec: j.Codec, Seq: c.seq}, Body: j.Args}
	if j.OneWay {
		m.Flags |= frame.FlagOneWay
	}
	if j.Idempotent {
		m.Flags |= frame.FlagIdempotent
	}
	if c.relay != nil {
		m.Flags |= frame.FlagStream
	}
	if left, ok := j.Left(); ok {
		m.Deadline = frame.DeadlineOf(max(left, 1))
	}
	id := j.XID()
	binary.LittleEndian.PutUint64(c.xid[copy(c.xid[:], id.Session[:]):], id.Seq)
	m.Ext = frame.Ext{Method: c.method, Trace: j.Trace, XID: c.xid[:]}
	if at, ok := j.Until(); ok && w.shares {
		m.Ext.Until = uint64(max(at, 1))
	}
	if !c.sent {
		m.Owner = c
	}
	if borrows, _ := j.Borrows(); borrows && !w.borrow(c, &m) {
		return
	}
	if c.relay != nil && w.conn.Agreed().Features&frame.FeatureStreams == 0 {
		if w.drop(c) {
			c.relay.broke()
			w.pool.core.Decline(j, session.Unimplemented, wire.Failure(0, "the worker takes no streams", nil))
		}
		return
	}
	switch err := w.give(&m, queue); {
	case errors.Is(err, conn.ErrTooLong):
		if w.drop(c) {
			if c.relay != nil {
				c.relay.broke()
			}
			w.pool.core.Decline(j, session.Invalid, wire.Failure(-1, "arguments are too long for a worker", nil))
		}
	case err != nil: // the channel has ended, and the worker with it
		c.unsent = true
		_ = w.conn.Close()
	case m.Owner == nil && c.relay != nil:
		c.relay.begin()
	}
}

// give queues a message, and writes it at once if it is not only to be queued.
func (w *worker) give(m *conn.Message, queue bool) error {
	if queue {
		return w.conn.Queue(m) //nolint:wrapcheck // its caller looks at it
	}
	return w.conn.TrySend(m) //nolint:wrapcheck // the same
}

// drop forgets a call. It tells whether it was there.
func (w *worker) drop(c *call) bool {
	w.pool.mu.Lock()
	there := w.calls[c.seq] == c
	delete(w.calls, c.seq)
	w.rest()
	w.pool.mu.Unlock()
	if there {
		c.done()
		c.unview() // not under the lock: the host asks for it under its own, which the view's peer may wait for
	}
	return there
}

// done says that a call is the worker's no more.
func (c *call) done() {
	c.over.Store(true)
	if c.claimed.CompareAndSwap(false, true) {
		c.w.waiting.Add(-1)
	}
}

// Release implements [conn.Releaser]: the arguments are written.
func (c *call) Release() {
	p := c.w.pool
	p.mu.Lock()
	c.sent = true
	answered, canceled := c.answered, c.canceled
	p.mu.Unlock()
	if c.relay != nil && !answered && c.w.conn.Err() == nil {
		c.relay.begin()
	}
	switch {
	case answered:
		c.end()
	case canceled:
		go c.cancel()
	}
}

// end tells the core how a call has ended. A stream's end waits for its items.
func (c *call) end() {
	if c.relay == nil {
		c.tell()
		return
	}
	c.w.pool.lives.Go(func() {
		c.relay.end()
		c.tell()
	})
}

func (c *call) tell() {
	c.unview()
	switch core := c.w.pool.core; c.ran {
	case session.NotExecuted:
		core.Decline(c.job, c.code, c.reply)
	default:
		core.Return(c.job, c.code, c.reply)
	}
}

// Interrupt implements [server.Executor]: the worker is asked, and killed if it does
// not heed.
func (p *Pool) Interrupt(j *server.Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, _ := j.Worker.(*call)
	if c == nil || c.w.calls[c.seq] != c || c.canceled {
		return
	}
	c.canceled = true
	if !j.Method.Unkillable {
		if at := time.Now().Add(p.opts.Grace); c.killAt.IsZero() || at.Before(c.killAt) {
			c.killAt = at
			c.w.arm(at)
		}
	}
	if c.sent {
		go c.cancel()
	}
}

// cancel asks the worker to stop. The CALL is written, or in the queue.
func (c *call) cancel() {
	_ = c.w.conn.TrySend(&conn.Message{Header: frame.Header{Type: frame.TypeCancel, Seq: c.seq}})
}
