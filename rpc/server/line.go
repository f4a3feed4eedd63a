package server

import (
	"crypto/x509"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

// Line is one connection of a client, as its door has it.
type Line interface {
	// Tell gives a message to the client, and does not wait. reader is true if the
	// line's own reader calls, in [Link.Receive]: then what is told may be sent when
	// the reader has handled all that has come. j is the job that a Reply belongs to;
	// nil if there is none any more. m.Body is good while Tell runs, and for as long as the
	// line retains m.Memory, if there is one.
	Tell(m *session.Message, j *Job, reader bool)
	// Close ends the connection: its client broke a rule.
	Close(why frame.Reason, text string)
	// Peer names the client's address, for people.
	Peer() string
	// Via is the way by which it comes.
	Via() Via
	// Identity is who it is.
	Identity() Identity
}

// Link is what a core knows of a line.
type Link struct {
	core    *Core
	line    Line
	id      session.Conn
	via     Via
	session *session.Session
	may     func(method string) bool // what its client may call; nil: everything
}

// Allow says what a client may call: a function that is asked for each call by the reader of the client's
// connection, so it must be quick; nil: everything. It is not asked about callers within the process.
type Allow func(Identity) func(method string) bool

// Identity is who a client is, as far as its connection shows.
type Identity struct {
	Certificates []*x509.Certificate // that it has proved itself with over TLS, its own first
	Socket       bool                // it has come by the server's Unix socket
}

// Connect takes a new line. Its door calls Receive for what comes, one call at a time,
// and Disconnect at its end.
func (c *Core) Connect(line Line) *Link {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastConn++
	l := &Link{core: c, line: line, id: c.lastConn, via: line.Via()}
	if c.opts.Allow != nil && l.via != Direct {
		l.may = c.opts.Allow(line.Identity())
	}
	c.links[l.id] = l
	return l
}

// Disconnect says that a line has ended. Its session lives on.
func (l *Link) Disconnect() {
	l.core.mu.Lock()
	defer l.core.mu.Unlock()
	delete(l.core.links, l.id)
}

// Method returns what a name stands for, nil if there is no such method. What its client may not call the
// server does not get to know by that.
func (l *Link) Method(name string) *Method {
	if l.mayCall(name) {
		return l.core.Method(name)
	}
	return l.core.method(name, (*methods).stray)
}

// mayCall tells whether the client may call a method.
func (l *Link) mayCall(method string) bool { return l.may == nil || l.may(method) }

// open tells whether the line's client waits for the end of a call.
func (l *Link) open() bool {
	l.core.mu.Lock()
	defer l.core.mu.Unlock()
	return l.session != nil && l.session.Open()
}

// Receive takes a message of the client. The job of a Call is made by [Core.Job].
func (l *Link) Receive(m *session.Message) {
	c := l.core
	t := c.begin(l)
	switch {
	case m.Kind == session.Hello:
		var s *session.Session
		if s, t.fx = c.domain.Hello(t.now, l.id, m, t.fx); s != nil {
			l.session = s
		}
	case l.session == nil:
		c.unlock(t)
		l.line.Close(frame.ReasonSession, m.Kind.String()+" before a session is open")
		return
	default:
		if j, is := m.Tag.(*Job); is {
			j.arrived = t.now
		}
		t.fx = c.domain.Receive(t.now, l.session, l.id, m, t.fx)
		if j, unused := m.Tag.(*Job); unused {
			j.let(nil)
		}
	}
	c.end(t)
}
