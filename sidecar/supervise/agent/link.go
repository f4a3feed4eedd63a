package agent

import (
	"sync"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// maxBacklog is how many events may wait for a slow sidecar before the agent
// stops taking its commands. What waits then is bounded by this and the number
// of workers; the workers themselves are never held up.
const maxBacklog = 64

// link is a connection to a sidecar with the events that are to go there.
type link struct {
	conn   *supervise.Conn
	mu     sync.Mutex
	cond   sync.Cond
	queue  []supervise.Event // the first one may be on its way
	ending bool              // the writer ends when the queue is empty
	closed bool
	done   chan struct{} // the writer has ended
}

func newLink(conn *supervise.Conn) *link {
	l := &link{conn: conn, done: make(chan struct{})}
	l.cond.L = &l.mu
	return l
}

// push queues an event. It never blocks.
func (l *link) push(e supervise.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.queue = append(l.queue, e)
		l.cond.Broadcast()
	}
}

// write sends the events in order until the link is closed, or a send fails.
func (l *link) write() error {
	defer close(l.done)
	for {
		e, ok := l.first()
		if !ok {
			return nil
		}
		if err := l.conn.Send(e, -1); err != nil {
			return err //nolint:wrapcheck // says what it is
		}
		l.mu.Lock()
		if len(l.queue) > 0 {
			l.queue = l.queue[1:]
		}
		l.cond.Broadcast()
		l.mu.Unlock()
	}
}

// first waits for an event to send; ok is false if there will be none.
func (l *link) first() (e supervise.Event, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.closed && !l.ending {
		l.cond.Wait()
	}
	if l.closed || len(l.queue) == 0 {
		return supervise.Event{}, false
	}
	return l.queue[0], true
}

// read gives the sidecar's commands to handle, which owns the descriptor. It
// ends with the connection's error. A malformed message is given to malformed
// and does no harm.
func (l *link) read(handle func(c supervise.Command, fd int), malformed func(error)) error {
	for l.room() {
		var c supervise.Command
		fd, err := l.conn.Receive(&c)
		switch {
		case err == nil:
			handle(c, fd)
		case supervise.IsMalformed(err):
			malformed(err)
		default:
			return err //nolint:wrapcheck // says what it is
		}
	}
	return nil
}

// room waits until the backlog is small; it is false once the link is closed.
func (l *link) room() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) >= maxBacklog && !l.closed {
		l.cond.Wait()
	}
	return !l.closed
}

// close ends the link at once and returns the events that were not sent.
func (l *link) close() []supervise.Event {
	l.mu.Lock()
	queue := l.queue
	l.queue, l.closed = nil, true
	l.cond.Broadcast()
	l.mu.Unlock()
	_ = l.conn.Close()
	return queue
}

// finish lets the writer send what is queued, for a while, and closes the link.
func (l *link) finish(wait time.Duration) {
	l.mu.Lock()
	l.ending = true
	l.cond.Broadcast()
	l.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
	}
	l.close()
}
