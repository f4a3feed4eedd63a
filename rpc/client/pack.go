package client

import (
	"errors"
	"fmt"
	"net"
	"time"

	"rpcpool.dev/rpc/compress"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

// linkLeast is the length, in bytes, from which on the time that a body takes to leave says how
// fast the link is: a shorter one only goes into a buffer.
const linkLeast = 256 << 10

// Faraway tells whether compression may pay towards an address: not on this machine.
func Faraway(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && !t.IP.IsLoopback()
}

// packing is how a connection's bodies are compressed; nil: they are not.
type packing struct {
	id      compress.ID
	methods map[uint32]*compress.Adaptive // by the client's number
}

// newPacking returns how a new connection's bodies are compressed.
func (c *Client) newPacking(p conn.Peer) *packing {
	k, ok := p.(*conn.Conn)
	if !ok || !c.opts.Compress(k.RemoteAddr()) {
		return nil
	}
	agreed := k.Agreed()
	id, ok := compress.Pick(agreed.Compressors, false)
	if !ok || agreed.Features&frame.FeatureCompression == 0 {
		return nil
	}
	return &packing{id: id, methods: map[uint32]*compress.Adaptive{}}
}

// adaptive returns what is known of a method on a line; nil: nothing is compressed there.
func (l *line) adaptive(method uint32) *compress.Adaptive {
	if l.pack == nil {
		return nil
	}
	a := l.pack.methods[method]
	if a == nil {
		a = new(compress.Adaptive)
		l.pack.methods[method] = a
	}
	return a
}

// squeeze compresses a CALL's body, if that pays.
func (c *Client) squeeze(s *send, f *conn.Message) {
	if s.pack == nil || len(f.Body) < compress.MinLen {
		return
	}
	n := len(f.Body)
	if out, yes := c.packers.Encode(s.pack, make([]byte, 0, n/2), s.line.pack.id, f.Body); yes {
		f.Flags |= frame.FlagCompressed
		f.Ext.PlainLen, f.Body = uint64(n), out
	}
}

// time sees to it that the time is noted that a long body takes to leave.
func (s *send) time(f *conn.Message) {
	if s.pack != nil && len(f.Body) >= linkLeast {
		f.Owner = &timed{owner: f.Owner, a: s.pack, n: len(f.Body), start: time.Now()}
	}
}

// disown lets go of the memory of a message that was not sent.
func disown(f *conn.Message) {
	switch o := f.Owner.(type) {
	case nil:
	case *timed:
		if o.owner != nil {
			o.owner.Release()
		}
	default:
		o.Release()
	}
}

// timed notes how long a body took to leave.
type timed struct {
	owner conn.Releaser
	a     *compress.Adaptive
	n     int
	start time.Time
}

// Release implements [conn.Releaser].
func (t *timed) Release() {
	t.a.Link(t.n, time.Since(t.start))
	if t.owner != nil {
		t.owner.Release()
	}
}

var errPlain = errors.New("compressed result cannot be taken")

// unpack gives a call its result, if that is compressed. What cannot be decompressed is a
// result that is lost.
func (c *Client) unpack(k *call, l *line, in *conn.In, m *session.Message) {
	id := compress.S2
	if p, ok := l.ref.Peer.(*conn.Conn); ok {
		id, _ = compress.Pick(p.Agreed().Compressors, false)
	}
	plain, err := c.packers.Decode(nil, id, in.Body, in.Ext.PlainLen)
	if err != nil {
		m.Code, m.Body = session.ReplyLost, nil
		k.user.Text = fmt.Errorf("%w: %w", errPlain, err).Error()
		return
	}
	k.plain, m.Body = plain, plain
}
