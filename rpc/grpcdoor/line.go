package grpcdoor

import (
	"sync"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// key is a call, and who says so: with a wrong secret it is another one, which nobody
// knows.
type key struct {
	session, secret session.ID
	seq             uint64 // 0: the session alone
}

// line is a call's connection to the core. RPCs about the same call share it.
type line struct {
	door *Door
	key  key
	from sender // that has sent the first RPC about the call
	link *server.Link
	uses int // RPCs that are here; the door's lock

	turn sync.Mutex // the link takes one message at a time

	opened  chan struct{} // closed by a Welcome
	ended   chan struct{} // closed when answer is there
	mu      sync.Mutex
	isOpen  bool
	over    bool
	answer  answer
	welcome session.Handshake
	fence   uint64 // the newest that the server has confirmed
	left    bool   // all RPCs are gone
}

var _ server.Line = (*line)(nil)

// join returns the line of a call. The caller leaves it again.
func (d *Door) join(k key, from sender) *line {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lines[k]
	if l == nil {
		l = &line{door: d, key: k, from: from, opened: make(chan struct{}), ended: make(chan struct{})}
		l.link = d.core.Connect(l)
		if k.seq != 0 {
			d.lines[k] = l
		}
	}
	l.uses++
	return l
}

// leave ends a use of a line.
func (l *line) leave() {
	d := l.door
	d.mu.Lock()
	l.uses--
	last := l.uses == 0
	if last && d.lines[l.key] == l {
		delete(d.lines, l.key)
	}
	d.mu.Unlock()
	if last {
		l.link.Disconnect()
		l.mu.Lock()
		l.left = true
		memory := l.answer.memory
		l.answer.memory = nil
		l.mu.Unlock()
		if memory != nil {
			memory.Release()
		}
	}
}

// receive gives a message of the client to the core.
func (l *line) receive(m *session.Message) {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.link.Receive(m)
}

// end gives all who are here the answer. Who comes afterwards asks the table anew. It
// may be called under the core's lock or the link's turn, so it waits for neither.
func (l *line) end(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.left {
		return
	}
	if l.over, l.answer = true, a; a.memory != nil {
		a.memory.Retain()
	}
	close(l.ended)
}

// Tell implements [server.Line].
func (l *line) Tell(m *session.Message, _ *server.Job, _ bool) {
	l.mu.Lock()
	l.fence = max(l.fence, m.Fence)
	l.mu.Unlock()
	switch m.Kind {
	case session.Welcome:
		l.mu.Lock()
		if l.welcome = *m.Greeting; !l.isOpen {
			l.isOpen = true
			close(l.opened)
		}
		l.mu.Unlock()
	case session.Reply:
		if m.Seq == l.key.seq {
			l.retire()
			l.end(answer{code: codeOf(m.Code), execution: m.Execution, body: m.Body, memory: m.Memory})
		}
	case session.Gone:
		l.retire()
		l.end(expired)
	case session.Full:
		l.end(full)
	}
}

// retire takes a line that has its answer from where others would find it.
func (l *line) retire() {
	d := l.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lines[l.key] == l {
		delete(d.lines, l.key)
	}
}

// lose ends all lines of a session that has ended.
func (d *Door) lose(of key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, l := range d.lines {
		if k.session == of.session && k.secret == of.secret {
			delete(d.lines, k)
			l.end(expired)
		}
	}
}

// Close implements [server.Line].
func (l *line) Close(_ frame.Reason, text string) {
	l.retire()
	l.end(misused(text))
}

// Peer implements [server.Line].
func (l *line) Peer() string { return l.from.address }

// Identity implements [server.Line].
func (l *line) Identity() server.Identity { return l.from.who }

// Via implements [server.Line].
func (*line) Via() server.Via { return server.GRPC }

// confirmed returns the newest fence that the server has confirmed.
func (l *line) confirmed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fence
}
