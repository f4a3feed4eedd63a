package workers

import (
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// worker is one process with its channel. It is the channel's handler.
type worker struct {
	pool     *Pool
	position int
	proc     Process
	conn     *conn.Conn
	party    blob.PartyID // at the host of blobs; 0: none
	shares   bool         // this machine's clock, so it may be told when a call's time is over
	born     time.Time
	ready    time.Time

	// Guarded by the pool's lock:
	calls   map[uint64]*call
	seq     uint64 // of the last call
	bound   map[uint32]bool
	lent    int         // calls that wait for others
	leaving bool        // it is going out of service: its slots are no more
	retired bool        // it ends when it has no calls any more
	served  bool        // it has answered
	killed  crash.Cause // why we did it; empty: we did not
	why     string      // more on that, for people
	next    time.Time   // when timer runs out
	timer   *time.Timer

	out     sync.Once      // see leave
	waiting atomic.Int32   // calls, and those who read until one is answered
	sends   sync.WaitGroup // calls that are being written
	unsent  []uint64       // there when closed is
	broken  error          // there when closed is
	closed  chan struct{}  // the channel has ended, all that came by it is answered
}

var (
	_ conn.Handler = (*worker)(nil)
	_ conn.Lender  = (*worker)(nil)
)

// Message implements [conn.Handler].
func (w *worker) Message(_ conn.Peer, in *conn.In) {
	switch in.Type {
	case frame.TypeItems:
		w.item(in)
	case frame.TypeReply, frame.TypeError:
		if in.Flags&frame.FlagStream != 0 {
			w.item(in)
			return
		}
		w.answer(in)
	case frame.TypeInProgress:
		w.lend(in.Seq, true)
	case frame.TypeStarted:
		w.lend(in.Seq, false)
	}
}

// item takes an item of a stream, or credit for some.
func (w *worker) item(in *conn.In) {
	w.pool.mu.Lock()
	c := w.calls[in.Seq]
	w.pool.mu.Unlock()
	if c == nil || c.relay == nil {
		return
	}
	if err := c.relay.worker.Message(in); err != nil {
		w.kill(crash.Protocol, "call channel: "+err.Error())
	}
}

// answer takes the end of a call: its slot is free before the core hears of it, so
// there is one for each call that the core gives out.
func (w *worker) answer(in *conn.In) {
	p := w.pool
	p.mu.Lock()
	c := w.calls[in.Seq]
	if c == nil {
		p.counts.Late++
		p.mu.Unlock()
		return
	}
	delete(w.calls, in.Seq)
	w.served = true
	lent := c.lent && !w.leaving
	if c.lent {
		w.lent--
	}
	sent := c.sent
	w.rest()
	p.mu.Unlock()
	if lent {
		p.core.Grow(-1)
	}
	c.done()
	c.take(in)
	if !sent {
		sent = c.answerEarly()
	}
	if sent {
		if c.relay == nil {
			c.job.EndsIn(w.conn)
		}
		c.end()
	}
}

// answerEarly leaves the end of a call to Release, while the arguments are still being
// written: their memory must not be another's before.
func (c *call) answerEarly() (sent bool) {
	p := c.w.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	c.answered = true
	return c.sent
}

// take makes an answer the call's own. A worker may say that a call did not run, that it
// does not know, that the result is lost, or that its handler heeded the end of its context; all else that is no result is the handler's
// error, whatever it is called.
func (c *call) take(in *conn.In) {
	var m session.Message
	_, _ = wire.ParseResponse(in, &m) // the connection has looked at it
	c.code, c.ran = m.Code, session.Executed
	if m.Code != session.OK {
		switch c.ran = m.Execution; {
		case c.ran == session.NotExecuted, c.code == session.Lost, c.code == session.ReplyLost:
		case c.ran == session.Executed && (c.code == session.DeadlineExceeded || c.code == session.Canceled): // the core looks at it
		default:
			c.code, c.ran = session.Failed, session.Executed
		}
	}
	body := m.Body
	if m.Blobs > 0 {
		body = c.takeBlobs(m.Blobs, body)
	}
	switch {
	case len(body) == 0:
	case c.w.pool.opts.Room != nil && len(body) > cap(c.job.Scratch()):
		r := &result{room: c.w.pool.opts.Room}
		c.reply, c.job.Memory = r.take(in, body), r
	case m.Code == session.OK && len(body) >= conn.LongBody:
		kept := in.Keep()
		c.reply = kept.Body[len(kept.Body)-len(body):]
		if memory := kept.Detach(); memory != nil {
			c.job.Memory = memory
		}
	default:
		c.reply = append(c.job.Scratch(), body...)
	}
}

// Lend implements [conn.Lender]: a long answer begins to arrive, and may have to wait for room.
func (w *worker) Lend(_ conn.Peer, h *frame.Header, _ int) *conn.Memory {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	if c := w.calls[h.Seq]; c != nil {
		c.answers = true
	}
	return nil
}

// lend gives the slot of a call that waits for others to the core, or takes it back,
// even if another call has it now.
func (w *worker) lend(seq uint64, waits bool) {
	p := w.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	c := w.calls[seq]
	if c == nil || c.lent == waits || w.leaving {
		return
	}
	n := 1
	if c.lent = waits; !waits {
		n = -1
	}
	w.lent += n
	p.mu.Unlock()
	p.core.Grow(n)
	p.mu.Lock()
}

// Closed implements [conn.Handler].
func (w *worker) Closed(_ conn.Peer, err error, unsent []uint64) {
	w.broken, w.unsent = err, unsent
	close(w.closed)
}

// arm sees to it that somebody looks at that time.
func (w *worker) arm(at time.Time) {
	if !w.next.IsZero() && !at.Before(w.next) {
		return
	}
	w.next = at
	if w.timer == nil {
		w.timer = time.AfterFunc(time.Until(at), w.late)
	} else {
		w.timer.Reset(time.Until(at))
	}
}

// late kills the worker if a call has had its time, and its grace. A call whose answer waits for
// room, or may do so, has not: it has ended, and others have the room.
func (w *worker) late() {
	w.pool.mu.Lock()
	now, over := time.Now(), false
	w.next = time.Time{}
	wanted := w.pool.opts.Room != nil && w.pool.opts.Room.Wanted()
	starved := wanted && w.conn.Starved()
	for _, c := range w.calls {
		switch {
		case c.killAt.IsZero():
		case (starved || wanted && c.answers) && !now.Before(c.killAt):
			c.killAt = now.Add(2 * w.pool.opts.Grace) // it has a grace when there is room
			w.arm(now.Add(w.pool.opts.Grace))
		case !now.Before(c.killAt):
			over = true
		default:
			w.arm(c.killAt)
		}
	}
	w.pool.mu.Unlock()
	if over {
		w.kill(crash.Timeout, "a call outlived its time")
	}
}

// kill ends the worker. The first reason counts.
func (w *worker) kill(cause crash.Cause, why string) {
	w.pool.mu.Lock()
	if w.killed == "" {
		w.killed, w.why = cause, why
	}
	w.pool.mu.Unlock()
	w.proc.Kill()
}
