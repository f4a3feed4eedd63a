package conn

import (
	"errors"
	"os"
	"time"

	"rpcpool.dev/rpc/frame"
)

// Lender is a [Handler] that has memory for long replies, so that they need not be copied
// to where they belong.
type Lender interface {
	// Lend is asked when a long reply begins to arrive. It returns memory for its n bytes,
	// made by [Lend], or nil. It is called by the reader, and must not wait.
	Lend(p Peer, h *frame.Header, n int) *Memory
}

// Lend makes memory of b, in which a reply may arrive, whole or not. b must be left alone
// until the memory is back.
func Lend(b []byte) *Memory {
	m := &Memory{b: b, back: make(chan struct{}, 1)}
	m.users.Store(1)
	return m
}

// Back returns a channel that has an element when lent memory is not used any more.
func (m *Memory) Back() <-chan struct{} { return m.back }

// In tells whether the body of a message has arrived in that memory.
func (in *In) In(m *Memory) bool { return m != nil && in.mem == m }

// Recall makes the reader let go of lent memory: what is still to come of a reply goes
// elsewhere.
func (c *Conn) Recall(m *Memory) {
	m.recalled.Store(true)
	l := &c.lend
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recalled = true
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}

// recalled tells whether a read has failed only for memory to be let go of, which is done
// then.
func (rd *reader) recalled(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	l := &rd.c.lend
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.recalled {
		return false
	}
	l.recalled = false
	rd.c.resume()
	for _, a := range rd.long {
		if a.mem != nil && a.mem.recalled.Load() {
			rd.move(a)
		}
	}
	return true
}

// move moves what has arrived of a message to other memory.
func (rd *reader) move(a *assembly) {
	mem := takeMemory(a.total)
	body := mem.b[:copy(mem.b, a.body)]
	if p := &rd.cur; p.on && p.a == a {
		p.body = body[len(body)-len(p.body):]
		p.rest = p.body[len(p.body)-len(p.rest):]
	}
	a.mem.Release()
	a.mem, a.body = mem, body
}
