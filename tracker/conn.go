package tracker

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/tvm"
)

// flushReplies is how much of replies to pipelined frames is gathered before it
// is written.
const flushReplies = 32 << 10

// errStop ends a connection whose peer stopped the tracker.
var errStop = errors.New("stopped by a peer")

// conn is one connection: a reader that answers, and an outbox that others may
// use too. It costs little while nothing comes.
type conn struct {
	server   *Server
	nc       *tcp.Conn
	peer     peer // guarded by server.mu once it has joined
	in       inbuf
	out      outbox
	replies  *buffer // to the frames of one pass; nil between passes
	partial  bool    // a frame's deadline is set
	joined   bool
	wrote    bool // in this pass: what has come is acknowledged
	stopping bool // the server is to stop once the replies are written
}

func newConn(s *Server, tc *net.TCPConn) (*conn, error) {
	c := &conn{server: s, nc: tcp.NewConn(tc)}
	c.in.memory = &s.frameMemory
	c.peer.conn = c
	c.peer.setAddr(tc.RemoteAddr())
	if err := c.out.open(c.nc, s.options.WriteTimeout, s.backlogs, s.goroutines.Go); err != nil {
		return nil, err
	}
	return c, nil
}

// serve reads until the connection ends.
func (c *conn) serve() {
	err := c.handshake()
	if errors.Is(err, errNative) {
		c.giveAway()
		return
	}
	defer c.end()
	if err != nil {
		c.out.close(err)
		return
	}
	c.join()
	for {
		if err := c.pass(); err != nil {
			c.out.close(err)
			return
		}
		if err := c.read(); err != nil {
			c.out.close(err)
			return
		}
	}
}

// handshake waits for the magic and answers it. A peer that speaks anything
// else is told nothing here; if it is a native client, errNative.
func (c *conn) handshake() error {
	if err := c.nc.SetReadDeadline(time.Now().Add(c.server.options.HandshakeTimeout)); err != nil {
		return err
	}
	for c.in.end < tvm.FrameHeader {
		if err := c.fill(); errors.Is(err, os.ErrDeadlineExceeded) {
			return reject(rejectHandshakeTimeout, errors.New("no magic in time"))
		} else if err != nil {
			return err
		}
		if c.in.end < tvm.FrameHeader {
			c.out.write.ackNow()
		}
	}
	magic := [tvm.FrameHeader]byte(c.in.small[:])
	if err := tvm.CheckTrackerMagic(magic); err != nil {
		return c.foreign(magic[:], err)
	}
	c.in.start = tvm.FrameHeader
	c.gather().b = append(c.gather().b, magic[:]...)
	return c.nc.SetReadDeadline(time.Time{})
}

func (c *conn) join() {
	s := c.server
	s.mu.Lock()
	s.registry.join(&c.peer, s.options.Clock.Now())
	s.mu.Unlock()
	c.joined = true
}

// pass answers every frame that is there, with one write if the replies are
// few.
func (c *conn) pass() error {
	c.wrote = false
	frames := 0
	for ; ; frames++ {
		payload, ok, err := c.in.next()
		if err != nil {
			return errors.Join(c.flush(), reject(rejectFrameLength, err))
		}
		if !ok {
			break
		}
		if err := c.server.handle(c, payload); err != nil {
			return errors.Join(c.flush(), err)
		}
		if c.stopping {
			break
		}
		if c.replies != nil && len(c.replies.b) >= flushReplies {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	if c.stopping {
		return errStop
	}
	if !c.wrote || !c.in.empty() {
		// A peer with Nagle's algorithm holds the rest back until the ACK.
		c.out.write.ackNow()
	}
	return c.watchPartial(frames > 0)
}

// watchPartial bounds the time for the rest of a frame that has begun: in this
// pass, if other frames ended in it.
func (c *conn) watchPartial(others bool) error {
	partial := !c.in.empty()
	if partial == c.partial && (!partial || !others) {
		return nil
	}
	c.partial = partial
	if !partial {
		return c.nc.SetReadDeadline(time.Time{})
	}
	return c.nc.SetReadDeadline(time.Now().Add(c.server.options.FrameTimeout))
}

func (c *conn) read() error {
	err := c.fill()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return reject(rejectFrameTimeout, errors.New("frame begun and not finished in time"))
	}
	return err
}

// fill reads once. It leaves the ACK to whatever is written next: pass and
// handshake see to it that there is one at once. An ACK of its own for every
// read would be a segment, and its handling by the peer, for nothing.
func (c *conn) fill() error {
	room, err := c.in.space()
	if err != nil {
		return reject(rejectMemory, err)
	}
	n, err := c.nc.TCPConn.Read(room)
	c.in.added(n)
	return err
}

// gather returns the buffer in which the replies of this pass are gathered.
func (c *conn) gather() *buffer {
	if c.replies == nil {
		c.replies = takeBuffer()
	}
	return c.replies
}

// flush writes the replies of this pass. A peer that does not read its replies
// is not read from until it does.
func (c *conn) flush() error {
	full, err := c.post()
	if full != nil {
		<-full
	}
	return err
}

// post is flush without the wait: full is closed, if it is not nil, once the
// peer has read.
func (c *conn) post() (full <-chan struct{}, err error) {
	if c.replies == nil {
		return nil, nil
	}
	full, err = c.out.send(c.replies.b, nil)
	c.wrote = true
	c.replies.release()
	c.replies = nil
	return full, err
}

// grant sends a grant. It fails if the connection is closed: then the peer has
// not got it. It never blocks; any goroutine may call it.
func (c *conn) grant(o *offer) error {
	b := takeBuffer()
	defer b.release()
	g := tvm.Grant{Host: o.host, Port: o.port, MatchKey: o.matchKey}
	b.b = tvm.EndFrame(g.AppendPayload(tvm.BeginFrame(b.b)), 0)
	_, err := c.out.send(b.b, o)
	return err
}

// end cleans up after the last read.
func (c *conn) end() {
	s := c.server
	defer s.forget(c)
	c.in.drop()
	if c.replies != nil {
		c.replies.release()
		c.replies = nil
	}
	undelivered, why := c.out.undelivered()
	if c.joined {
		s.leave(c, undelivered, why)
	}
	bad := (*rejection)(nil)
	switch {
	case errors.As(why, &bad):
		s.rejected(c.peer.addr, bad)
	case errors.Is(why, errStop):
		s.stop()
	case errors.Is(why, io.EOF) || ended(why):
	default:
		s.options.Logger.Warn("connection failed", "peer", c.peer.addr, "error", why)
	}
}
