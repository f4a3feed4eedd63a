package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/compress"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// Door takes native clients: it is the handler of a [conn.Server].
type Door struct {
	core    *Core
	frames  sync.Pool // of *conn.Message
	packers *compress.Compressors
	far     func(net.Addr) bool // tells whether bodies to an address may be compressed

	mu    sync.Mutex
	lines map[conn.Peer]*nativeLine
}

var (
	_ conn.Handler  = (*Door)(nil)
	_ conn.Occupied = (*Door)(nil)
)

// NewDoor makes a door of a core.
func NewDoor(c *Core) *Door {
	d := &Door{core: c, lines: map[conn.Peer]*nativeLine{}, packers: compress.New(compress.Options{Now: time.Now}), far: wire.Faraway}
	d.frames.New = func() any { return new(conn.Message) }
	return d
}

// nativeLine is one native client's connection.
type nativeLine struct {
	door *Door
	peer conn.Peer
	link *Link
	name string
	via  Via
	msg  session.Message // of a reader; within a process there are many
	late atomic.Int32    // messages that wait for room
	debt Debt            // of results that have not been read

	mu      sync.Mutex
	bound   map[uint32]*Method // by the client's number
	strays  int                // of them, or of those that were
	streams map[uint64]*Job    // by the call's number
	account *account           // at whose cost results are made; the reader's
	revoke  func()             // of its ticket to the host of blobs; the reader's
	packs   map[*Method]*compress.Adaptive
}

var _ Line = (*nativeLine)(nil)

// line returns what is known of a peer; the first message makes it known.
func (d *Door) line(p conn.Peer) *nativeLine {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lines[p]
	if l == nil {
		l = &nativeLine{door: d, peer: p, bound: map[uint32]*Method{}, name: "local"}
		if c, ok := p.(interface{ RemoteAddr() net.Addr }); ok {
			l.name, l.via = c.RemoteAddr().String(), viaOf(c.RemoteAddr())
		}
		l.debt.init(d.core, func() { l.Close(frame.ReasonOverload, "results are not read") })
		l.link = d.core.Connect(l)
		d.lines[p] = l
	}
	return l
}

// Message implements [conn.Handler].
func (d *Door) Message(p conn.Peer, in *conn.In) {
	l := d.line(p)
	m := &l.msg
	if _, local := p.(*conn.Local); local {
		m = new(session.Message)
	}
	if in.Type == frame.TypeBind {
		l.bind(uint32(in.Seq), string(in.Body))
		return
	}
	if l.item(in) {
		return
	}
	if (in.Type >= frame.TypeBlobOffer || in.Ext.Blobs > 0) && l.blobs(in) {
		return
	}
	if !l.unpack(in) {
		return
	}
	is, err := wire.ParseRequest(in, m)
	if err != nil {
		l.Close(frame.ReasonProtocol, err.Error())
		return
	}
	if !is {
		return
	}
	if m.Kind == session.Call {
		if m.Needs != nil && in.Flags&frame.FlagStream != 0 {
			l.Close(frame.ReasonProtocol, "stream that needs results of calls")
			return
		}
		l.mu.Lock()
		method, known := l.bound[m.Method]
		l.mu.Unlock()
		if !known {
			l.Close(frame.ReasonProtocol, "call of a method that was not bound")
			return
		}
		if err := l.link.Call(in, m, method); err != nil {
			l.Close(frame.ReasonProtocol, err.Error())
			return
		}
		l.came(in, m)
	}
	l.link.Receive(m)
	if j, unused := m.Tag.(*Job); unused && j.stream != nil {
		j.unstream()
	}
}

// came sees to what of a call is about its line.
func (l *nativeLine) came(in *conn.In, m *session.Message) {
	j, ok := m.Tag.(*Job)
	if !ok {
		return
	}
	if j.account = l.account; in.Flags&frame.FlagStream != 0 {
		l.begin(in.Seq, j)
		m.Runs = 1 // another would miss items
	}
}

// item tells whether a frame belongs to a stream that has been started, and sees to it.
func (l *nativeLine) item(in *conn.In) bool {
	if !ofStream(in) {
		return false
	}
	if s := l.stream(in.Seq); s != nil {
		if err := s.Message(in); err != nil {
			l.Close(frame.ReasonFlowControl, err.Error())
		}
	}
	return true // or of a stream that has ended
}

// ofStream tells whether a client's frame is an item, or credit for some.
func ofStream(in *conn.In) bool {
	return in.Type == frame.TypeItems || in.Type == frame.TypeCall && in.Flags&frame.FlagStream != 0 && in.Ext.Method == 0
}

const (
	// boundMost is how many methods a connection may bind.
	boundMost = 1 << 16
	// straysMost is how many of them may be none that the server knows, as its client may not call them.
	straysMost = 1 << 10
)

func (l *nativeLine) bind(number uint32, name string) {
	m := l.link.Method(name)
	l.mu.Lock()
	if m != nil && m.stray {
		l.strays++
	}
	full := len(l.bound) >= boundMost || l.strays > straysMost
	if !full {
		l.bound[number] = m
	}
	l.mu.Unlock()
	if full {
		l.Close(frame.ReasonOverload, "too many methods are bound")
	}
}

// Closed implements [conn.Handler].
func (d *Door) Closed(p conn.Peer, _ error, _ []uint64) {
	d.mu.Lock()
	l := d.lines[p]
	delete(d.lines, p)
	d.mu.Unlock()
	if l != nil {
		if l.revoke != nil {
			l.revoke()
		}
		l.cut()
		l.debt.Close()
		l.link.Disconnect()
	}
}

// Occupied implements [conn.Occupied]: who waits for what is called here need not say so.
func (d *Door) Occupied(p conn.Peer) bool {
	d.mu.Lock()
	l := d.lines[p]
	d.mu.Unlock()
	return l != nil && l.link.open()
}

// Tell implements [Line]. What there is no room for waits: see wait.
func (l *nativeLine) Tell(m *session.Message, j *Job, reader bool) {
	f, _ := l.door.frames.Get().(*conn.Message)
	defer l.door.frames.Put(f)
	*f = conn.Message{}
	wire.Response(m, f)
	l.own(m, f)
	l.squeeze(f, j)
	if j != nil && f.Priority != frame.PriorityControl {
		f.Priority = max(j.Priority, frame.PriorityInteractive)
		if f.Type == frame.TypeReply {
			f.Codec = j.Codec
		}
	}
	send := l.peer.TrySend
	if reader {
		send = l.peer.Queue
	}
	err := send(f)
	switch {
	case errors.Is(err, conn.ErrTooLong):
		l.unsent(f, err)
		l.door.core.discard(m.Body, m.Blobs)
		lost := tooLong(m)
		*f = conn.Message{}
		wire.Response(&lost, f)
		_ = send(f) // or the connection is gone
	case errors.Is(err, conn.ErrBackpressure):
		l.wait(*f)
	default:
		l.unsent(f, err)
	}
}

// wait sends a message when there is room, in a goroutine of its own, which ends with the
// connection at the latest. A client that reads has one reply waiting for each call that it has
// open, and the answer to a cancel of that. One that has more does not read, and makes calls
// nevertheless, or asks for the same reply again and again: its connection is closed.
func (l *nativeLine) wait(f conn.Message) {
	if l.late.Add(1) > int32(2*l.door.core.domain.MostOpen()) {
		l.late.Add(-1)
		l.unsent(&f, conn.ErrBackpressure)
		l.Close(frame.ReasonOverload, "replies are not read")
		return
	}
	go func() {
		l.unsent(&f, l.peer.Send(context.Background(), &f))
		l.late.Add(-1)
	}()
}

// tooLong is what a client hears in place of a result that is longer than it takes.
func tooLong(m *session.Message) session.Message {
	text := fmt.Sprintf("result of %d bytes is longer than what may come in a message", len(m.Body))
	return session.Message{
		Kind: session.Reply, Seq: m.Seq, Fence: m.Fence, Code: session.ReplyLost, Execution: session.Executed, Body: wire.Failure(0, text, nil),
	}
}

// own makes a result's memory the frame's, until that is written. Within the process
// it is the client's for ever.
func (l *nativeLine) own(m *session.Message, f *conn.Message) {
	if m.Memory == nil {
		return
	}
	m.Memory.Retain()
	if _, local := l.peer.(*conn.Local); local {
		return
	}
	if f.Owner = m.Memory; l.door.core.opts.Room != nil {
		f.Owner = l.debt.Owe(m.Memory, len(m.Body))
	}
}

// unsent lets go of the memory of a frame that was not sent.
func (*nativeLine) unsent(f *conn.Message, err error) {
	if err != nil {
		wire.Disown(f)
	}
}

// Last lets the connection's reader run something behind all that it has read.
func (l *nativeLine) Last(r conn.Last, cost time.Duration) bool {
	c, ok := l.peer.(*conn.Conn)
	return ok && c.Last(r, cost)
}

// LastAlone is Last for what waits.
func (l *nativeLine) LastAlone(r conn.Last) bool {
	c, ok := l.peer.(*conn.Conn)
	return ok && c.LastAlone(r)
}

// Close implements [Line].
func (l *nativeLine) Close(why frame.Reason, text string) {
	if c, ok := l.peer.(*conn.Conn); ok {
		go func() { _ = c.GoAway(context.Background(), frame.GoAway{Reason: why, Text: text}) }()
		return
	}
	if c, ok := l.peer.(*conn.Local); ok {
		_ = c.Close()
	}
}

// Peer implements [Line].
func (l *nativeLine) Peer() string { return l.name }

// Identity implements [Line].
func (l *nativeLine) Identity() Identity {
	who := Identity{Socket: l.via == Unix}
	if c, ok := l.peer.(*conn.Conn); ok {
		who.Certificates = c.Certificates()
	}
	return who
}

// Via implements [Line].
func (l *nativeLine) Via() Via { return l.via }
