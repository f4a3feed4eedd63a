package conn

import (
	"context"
	"sync"
)

// Local is one end of a connection within this process. What is sent is handed
// to the other side's handler at once, by the sender's goroutine: nothing is
// copied or queued, and a body belongs to whoever it was sent to.
type Local struct {
	h     Handler // of this end
	other *Local
	hold  hold

	link *link
}

// link is what both ends share.
type link struct {
	over func() // called at the end; may be nil

	mu  sync.Mutex
	err error
}

var _ Peer = (*Local)(nil)

// Pair makes both ends of a connection within this process. The handler of an
// end gets what the other end sends.
func Pair(a, b Handler) (toB, toA *Local) {
	l := &link{}
	toB, toA = &Local{h: a, link: l}, &Local{h: b, link: l}
	toB.other, toA.other = toA, toB
	return toB, toA
}

// Send implements [Peer]. It never waits.
func (l *Local) Send(_ context.Context, m *Message) error {
	if err := l.Err(); err != nil {
		return err
	}
	if err := m.Check(); err != nil {
		return err //nolint:wrapcheck // it says all
	}
	in := In{Header: m.Header, Ext: m.Ext, Body: m.Body, own: m.Owner}
	in.BodyLen = len(m.Body)
	l.other.h.Message(l.other, &in)
	if !in.kept {
		in.Release()
	}
	return nil
}

// TrySend implements [Peer].
func (l *Local) TrySend(m *Message) error { return l.Send(context.Background(), m) }

// Queue implements [Peer].
func (l *Local) Queue(m *Message) error { return l.Send(context.Background(), m) }

// Hold implements [Peer].
func (l *Local) Hold() bool {
	ok, _ := l.hold.acquire()
	return ok
}

// Release implements [Peer].
func (l *Local) Release() {
	if _, shut := l.hold.release(); shut {
		_ = l.Close()
	}
}

// Shut lets nobody hold the connection any more. When nobody does, it ends.
func (l *Local) Shut() {
	if first, held := l.hold.shut(); first && !held {
		_ = l.Close()
	}
}

// Err returns why the connection ended, or nil.
func (l *Local) Err() error {
	l.link.mu.Lock()
	defer l.link.mu.Unlock()
	return l.link.err
}

// Close ends the connection, for both.
func (l *Local) Close() error {
	l.link.mu.Lock()
	first := l.link.err == nil
	if first {
		l.link.err = ErrClosed
	}
	l.link.mu.Unlock()
	if first {
		l.hold.shut()
		l.other.hold.shut()
		l.h.Closed(l, ErrClosed, nil)
		l.other.h.Closed(l.other, ErrPeerClosed, nil)
		if l.link.over != nil {
			l.link.over()
		}
	}
	return nil
}
