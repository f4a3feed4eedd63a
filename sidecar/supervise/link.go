package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Link is the sidecar's end of a connection to an agent.
type Link struct {
	conn   *Conn
	hello  Hello
	events chan Event
	done   chan struct{}
}

// Dial connects to the agent that listens on the Unix socket at path and waits
// for its hello, at most until ctx ends.
func Dial(ctx context.Context, path string) (*Link, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unixpacket", path)
	if err != nil {
		return nil, fmt.Errorf("connect to agent: %w", err)
	}
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("connect to agent: %T is not a Unix connection", c), c.Close())
	}
	conn := NewConn(unixConn)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	hello, err := receiveHello(conn)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("agent at %s: %w", path, err), conn.Close())
	}
	l := &Link{conn: conn, hello: hello, events: make(chan Event), done: make(chan struct{})}
	go l.receive()
	return l, nil
}

func receiveHello(c *Conn) (Hello, error) {
	var e Event
	fd, err := c.Receive(&e)
	CloseFD(fd)
	switch {
	case err != nil:
		return Hello{}, err
	case e.Kind != EventHello || e.Hello == nil:
		return Hello{}, fmt.Errorf("first message is %q, not a hello", e.Kind)
	case e.Hello.Version != ProtocolVersion:
		return Hello{}, fmt.Errorf("agent speaks protocol version %d, this sidecar %d", e.Hello.Version, ProtocolVersion)
	}
	return *e.Hello, nil
}

// Hello is what the agent had when the link was made.
func (l *Link) Hello() Hello { return l.hello }

// Events gives the agent's events in order. It is closed when the link ends.
// Who takes an event owns its descriptor.
func (l *Link) Events() <-chan Event { return l.events }

// Start starts a worker: warm if session is nil, else cold with the session's
// descriptor fd, of which the caller keeps its own.
func (l *Link) Start(worker string, s Start, session *Session, fd int) error {
	return l.conn.Send(Command{Op: OpStart, Worker: worker, Start: &s, Session: session}, fd)
}

// Session hands a session to a warm worker that is ready.
func (l *Link) Session(worker string, session Session, fd int) error {
	return l.conn.Send(Command{Op: OpSession, Worker: worker, Session: &session}, fd)
}

// Kill kills a worker's tree. The answer is [EventExited].
func (l *Link) Kill(worker string, k Kill) error {
	return l.conn.Send(Command{Op: OpKill, Worker: worker, Kill: &k}, -1)
}

// Ack says that the end of a worker or of a session is on record.
func (l *Link) Ack(worker string, seq uint64) error {
	return l.conn.Send(Command{Op: OpAck, Worker: worker, Seq: seq}, -1)
}

// Ping asks whether the agent is there. The answer is [EventPong].
func (l *Link) Ping() error { return l.conn.Send(Command{Op: OpPing}, -1) }

// Abandon ends the link without waiting: Events is closed soon after.
func (l *Link) Abandon() { _ = l.conn.Close() }

// Close ends the link and waits until its reader has.
func (l *Link) Close() {
	_ = l.conn.Close()
	for e := range l.events { // drained so that the reader can end
		CloseFD(e.FD)
	}
	<-l.done
}

func (l *Link) receive() {
	defer close(l.done)
	defer close(l.events)
	for {
		var e Event
		var err error
		if e.FD, err = l.conn.Receive(&e); err != nil {
			return
		}
		l.events <- e
	}
}
