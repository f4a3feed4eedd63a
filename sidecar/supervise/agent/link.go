package agent

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

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
	queue  []outgoing
	ending bool // the writer ends when the queue is empty
	closed bool
	done   chan struct{} // the writer has ended
}

// outgoing is an event with a descriptor of its own, -1 if none goes along.
type outgoing struct {
	event supervise.Event
	fd    int
}

func newLink(conn *supervise.Conn) *link {
	l := &link{conn: conn, done: make(chan struct{})}
	l.cond.L = &l.mu
	return l
}

// push queues an event, with a duplicate of fd if that is not negative. It never
// blocks.
func (l *link) push(e supervise.Event, fd int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.queue = append(l.queue, outgoing{e, duplicateFD(fd)})
		l.cond.Broadcast()
	}
}

// write sends the events in order until the link is closed, or a send fails.
func (l *link) write() error {
	defer close(l.done)
	for {
		next, ok := l.next()
		if !ok {
			return nil
		}
		err := l.conn.Send(next.event, next.fd)
		closeFD(next.fd)
		if err != nil {
			if !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
				_ = l.conn.Close() // so that the reader ends, too
			}
			return err //nolint:wrapcheck // says what it is
		}
	}
}

// next waits for an event to send, and takes it; ok is false if there will be
// none.
func (l *link) next() (next outgoing, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.closed && !l.ending {
		l.cond.Wait()
	}
	if l.closed || len(l.queue) == 0 {
		return outgoing{}, false
	}
	next = l.queue[0]
	l.queue = l.queue[1:]
	l.cond.Broadcast()
	return next, true
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

// close ends the link at once.
func (l *link) close() {
	_ = l.conn.Close()
	l.mu.Lock()
	for _, o := range l.queue {
		closeFD(o.fd)
	}
	l.queue, l.closed = nil, true
	l.cond.Broadcast()
	l.mu.Unlock()
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
