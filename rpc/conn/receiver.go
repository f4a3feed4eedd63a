package conn

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"rpcpool.dev/rpc/frame"
)

// receiver accounts for what has arrived: the window, and the memory of long
// messages. What is to be said to the peer it returns.
type receiver struct {
	c        *Conn
	received atomic.Uint64 // metered bytes; the reader counts them
	known    uint64        // limit, as the reader last saw it

	mu        sync.Mutex
	released  uint64 // metered bytes that were let go of
	limit     uint64 // that the peer was told
	window    uint64
	maxWindow uint64
	room      int         // for long messages, bytes
	shared    *Room       // of several connections; nil: there is no such bound
	waiting   []*assembly // for room, in order
	probe     uint64      // nonce of the ping that measures the window; 0: none is under way
	probed    uint64      // what had been released then
}

// assembly is a long message that is arriving.
type assembly struct {
	h       frame.Header
	ext     frame.Ext
	total   int
	body    []byte  // what has arrived
	mem     *Memory // that body is in
	granted bool    // it has room for all of it
	held    held
}

// leastRoom is what even the shortest of them takes, in bytes: it bounds how many
// there can be.
const leastRoom = 4 << 10

// room returns how much of the connection's room the message needs, in bytes.
func (a *assembly) room() int { return max(a.total, leastRoom) }

// held is what a message holds of a connection's memory, in bytes.
type held struct {
	window int
	room   int
}

func (r *receiver) init(c *Conn) {
	o := &c.opts
	r.c, r.window, r.maxWindow = c, uint64(o.Window), uint64(o.MaxWindow)
	r.limit, r.room, r.shared = r.window, o.MaxAssembly, o.Room
}

// charge counts a metered frame.
func (r *receiver) charge(n int) error {
	received := r.received.Add(uint64(n))
	if received <= r.known {
		return nil
	}
	r.mu.Lock()
	r.known = r.limit
	r.mu.Unlock()
	if received > r.known {
		return &frame.Error{Reason: frame.ReasonFlowControl, Text: fmt.Sprintf("%d bytes were sent, only %d are credited", received, r.known)}
	}
	return nil
}

// starved tells whether the peer must wait for credit before it sends a message of one frame, be it as long as it may.
func (r *receiver) starved() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.limit < r.received.Load()+frame.HeaderLen+frame.MaxExt+maxChunk
}

// mayHave fails if a message has more bytes than it may have before its peer was
// told a limit for it.
func (r *receiver) mayHave(a *assembly, n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > frame.MessageAllowance && !a.granted {
		return &frame.Error{Reason: frame.ReasonFlowControl, Text: fmt.Sprintf("message with seq %d has %d bytes without a credit of its own", a.h.Seq, n)}
	}
	return nil
}

// hold books n bytes of a long message that were charged. It returns how much of
// the window they do not need: all of it, if the message has room.
func (r *receiver) hold(a *assembly, n int) (freed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.granted {
		return n
	}
	a.held.window += n
	return 0
}

// notice is what the peer is to be told.
type notice struct {
	limit  uint64         // of the connection, if not 0
	probe  uint64         // nonce of a ping, if not 0
	grants []frame.Header // CREDIT for messages: seq, and the limit in Ack
	any    bool           // some message has got room
}

// free lets go of memory, and says what that allows the peer.
func (r *receiver) free(h held, nonce uint64) (n notice) {
	if h.room > 0 {
		r.shared.put(h.room)
		defer r.shared.wake() // who comes before this one, or has what it leaves
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.released += uint64(h.window)
	r.room += h.room
	r.admit(&n)
	if r.released+r.window-r.limit >= r.window/4 {
		r.limit = r.released + r.window
		n.limit = r.limit
		if r.probe == 0 && r.window < r.maxWindow {
			r.probe, r.probed = nonce, r.released
			n.probe = nonce
		}
	}
	return n
}

// admit gives room to messages that wait, in their order, as long as there is some.
func (r *receiver) admit(n *notice) {
	for len(r.waiting) > 0 && r.room >= r.waiting[0].room() && r.shared.take(r, r.waiting[0].room()) {
		n.grant(r.grant(r.waiting[0]))
		r.waiting = r.waiting[1:]
	}
}

// pong is told the answer to every ping. If it was ours, what was released
// during one round trip says how large the window must be.
func (r *receiver) pong(nonce uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if nonce != r.probe {
		return
	}
	r.probe = 0
	if got := r.released - r.probed; got >= r.window/3*2 {
		r.window = min(2*got, r.maxWindow)
	}
}

// grant gives a message all the room that it needs.
func (r *receiver) grant(a *assembly) *assembly {
	r.room -= a.room()
	r.released += uint64(a.held.window)
	a.held, a.granted = held{room: a.room()}, true
	return a
}

// grant notes that the peer is to be told, if it does not know already.
func (n *notice) grant(a *assembly) {
	n.any = true
	if a.total > frame.MessageAllowance {
		n.grants = append(n.grants, frame.Header{Seq: a.h.Seq, Ack: uint64(a.total)})
	}
}

// reserve asks for room for a long message. If there is none now, the message
// waits for its turn.
func (r *receiver) reserve(a *assembly) (n notice) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, a)
	r.admit(&n)
	return n
}

// grow makes room in a's memory for n more bytes, and returns it.
func (r *receiver) grow(a *assembly, n int) []byte {
	have := len(a.body)
	want := have + n
	r.mu.Lock()
	if a.granted {
		want = a.total
	}
	r.mu.Unlock()
	if cap(a.body) < want {
		mem := r.shared.memory(want)
		copy(mem.b, a.body)
		a.mem.Release()
		a.mem, a.body = mem, mem.b[:have]
	}
	a.body = a.body[:have+n]
	return a.body[have:]
}

// leave takes a message that is complete, or never will be, out of those that
// wait. It returns what the message holds.
func (r *receiver) leave(a *assembly) held {
	r.mu.Lock()
	i := slices.Index(r.waiting, a)
	if i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	}
	h := a.held
	r.mu.Unlock()
	if i == 0 { // it was its turn that was waited for
		r.shared.forget(r)
		r.retry() // it is the next one's
		r.shared.wake()
	}
	return h
}

// release is [In.Release] of a message that was kept.
func (r *receiver) release(h held) {
	r.c.tell(r.free(h, r.c.nonce()), true)
}
