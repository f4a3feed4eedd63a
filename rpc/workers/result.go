package workers

import (
	"sync"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/session"
)

// result is the memory of a result that is on its way to its client. It has room until it has
// been sent, or nobody wants it; what the table of calls keeps of it afterwards is bounded by the
// table.
//
//	             the worker sends it           it is sent             asked for again
//	(waits there) ─────────────────▶ has room ──────────▶ the table's ──────────────▶ owes room
//	                                                          ▲ ───────── it is sent ─────┘
//
// A long one has room before it comes. A short one takes some when it has come; if there is
// none, it keeps its part of the channel's window, until nothing more comes by that channel. So
// results wait in their workers. Room is given back when clients read, and by nothing else: a
// client that does not read is closed (package server).
type result struct {
	room *conn.Room

	mu    sync.Mutex
	kept  *conn.In     // has room, or a part of the window; nil: it has neither
	taken int          // of the room, bytes
	size  int          // bytes
	mem   *conn.Memory // of what is not kept; nil: it is the garbage collector's
	users int          // the table, and messages on their way
	sends int          // these
}

var _ session.Lender = (*result)(nil)

// take makes a body that has come the result's. It is the reader's, and valid as long as the result is.
func (r *result) take(in *conn.In, body []byte) []byte {
	r.users, r.size = 1, len(in.Body)
	if !in.Roomy() && r.room.Spare(r.size) {
		r.taken = r.size
		if len(body) < conn.LongBody {
			return append([]byte(nil), body...)
		}
		kept := in.Keep()
		body = kept.Body[len(kept.Body)-len(body):]
		r.mem = kept.Detach()
		return body
	}
	r.kept = in.Keep()
	return r.kept.Body[len(r.kept.Body)-len(body):]
}

// Retain implements [session.Memory]: of the table.
func (r *result) Retain() { r.use(1, 0) }

// Release implements [session.Memory].
func (r *result) Release() { r.use(-1, 0) }

// Lend implements [session.Lender].
func (r *result) Lend() session.Memory {
	r.use(1, 1)
	return (*sending)(r)
}

// sending is a result that is on its way.
type sending result

// Retain implements [session.Memory].
func (s *sending) Retain() { (*result)(s).use(1, 1) }

// Release implements [session.Memory]: it is sent.
func (s *sending) Release() { (*result)(s).use(-1, -1) }

// Abandon is Release, but who has the bytes may go on reading them.
func (s *sending) Abandon() { (*result)(s).use(0, -1) }

func (r *result) use(users, sends int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.sends
	r.users, r.sends = r.users+users, r.sends+sends
	switch {
	case was == 0 && r.sends > 0 && r.kept == nil && r.taken == 0:
		r.taken = r.size
		r.room.Owe(r.taken)
	case r.users == 0 || was > 0 && r.sends == 0:
		r.giveBack()
	}
	if r.users == 0 && r.mem != nil {
		r.mem.Release()
		r.mem = nil
	}
}

// giveBack gives the room back. The channel is told by a goroutine of its own, as whoever brings
// this may have the core's lock, which the channel's sender may ask for.
func (r *result) giveBack() {
	if r.taken > 0 {
		r.room.Put(r.taken)
		r.taken = 0
	}
	if kept := r.kept; kept != nil {
		r.kept = nil
		r.users++ // until the memory is known
		go func() {
			mem := kept.Detach()
			r.mu.Lock()
			r.mem = mem
			r.mu.Unlock()
			r.Release()
		}()
	}
}
