package workers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/items"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// relay carries the items of a stream between its client and its worker:
//
//	client ── job's stream ──▶ up ───▶ worker's ──▶ worker
//	       ◀──────────────── down ◀───  stream ◀──
//
// It takes the next item when the last one has gone on, and who sent that is given credit
// when it is taken: so a slow reader at one end slows the sender at the other.
type relay struct {
	c        *call
	worker   *items.Stream   // the channel's side
	upward   context.Context //nolint:containedctx // ends when nothing is to go to the worker any more
	stop     context.CancelFunc
	downward context.Context //nolint:containedctx // ends when nothing is to go to the client any more
	cut      context.CancelFunc
	over     bool          // nothing is to go up any more. The pool's lock
	upped    chan struct{} // closed when nothing goes up any more; nil: nothing ever did. The pool's lock
	downed   chan struct{} // closed when all that came from the worker has been given to the client
	taken    bool          // an item of the client may have gone. Upped's
	lost     error         // why one did not reach the client. Downed's
}

// newRelay makes the relay of a call that is about to be sent.
func newRelay(c *call) *relay {
	r := &relay{c: c, worker: items.New(c.w.conn, items.Client, c.seq, frame.PriorityNormal), downed: make(chan struct{})}
	r.upward, r.stop = context.WithCancel(c.job)
	r.downward, r.cut = context.WithCancel(c.job)
	c.w.pool.lives.Go(r.down)
	return r
}

// begin lets items follow the CALL, all of which has left.
func (r *relay) begin() {
	p := r.c.w.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if !r.over {
		r.upped = make(chan struct{})
		p.lives.Go(r.up)
	}
}

func (r *relay) up() {
	defer close(r.upped)
	from := r.c.job.Stream()
	for {
		b, memory, err := from.Next(r.upward)
		switch {
		case errors.Is(err, io.EOF):
			_ = r.worker.CloseSend(r.upward) // or the call has ended
			return
		case err != nil:
			if !errors.Is(r.c.job.Err(), context.DeadlineExceeded) { // which the worker sees for itself
				r.c.w.pool.Interrupt(r.c.job) // the client is gone, if the call has not ended
			}
			return
		}
		r.taken = true
		err = r.worker.Send(r.upward, b)
		memory.Release()
		if err != nil {
			return // the call has ended, or the worker has
		}
	}
}

// down goes on when the client is gone, so that the worker does not wait.
func (r *relay) down() {
	defer close(r.downed)
	to := r.c.job.Stream()
	for {
		b, memory, err := r.worker.Next(context.Background()) // ends with the call, at the latest
		if err != nil {
			return
		}
		if memory = r.c.job.Owe(memory, len(b)); r.lost == nil {
			r.lost = to.Send(r.downward, b)
		}
		memory.Release()
	}
}

// end is told that the worker has answered. It returns when all items before the answer have
// gone to the client, and makes that what the core is to be told.
func (r *relay) end() {
	c := r.c
	r.worker.Break(io.EOF)
	r.stop()
	<-r.downed
	r.cut()
	if c.code != session.OK {
		return
	}
	why := r.lost
	switch got := r.worker.Received(); {
	case why != nil:
	case len(c.reply) < 8:
		why = errors.New("worker's end of the stream is malformed")
	case binary.LittleEndian.Uint64(c.reply) != got:
		why = fmt.Errorf("worker has sent %d items, %d have come", binary.LittleEndian.Uint64(c.reply), got)
	}
	if why != nil {
		c.code, c.reply = session.Failed, wire.Failure(0, why.Error(), nil)
		return
	}
	c.reply = c.reply[8:]
}

// broke is told that the worker has died, or that the call did not reach it. It tells whether
// an item of the client is lost.
func (r *relay) broke() bool {
	r.worker.Break(conn.ErrCut)
	r.stop()
	r.cut()
	<-r.downed // an item must not go on behind the end of its call
	p := r.c.w.pool
	p.mu.Lock()
	r.over = true
	upped := r.upped
	p.mu.Unlock()
	if upped == nil {
		return false
	}
	<-upped
	return r.taken
}
