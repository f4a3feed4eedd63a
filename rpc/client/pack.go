package client

import (
	"errors"
	"fmt"

	"rpcpool.dev/rpc/compress"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

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
