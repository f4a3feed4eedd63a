package server

import (
	"context"
	"encoding/binary"
	"io"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/items"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// Stream returns the items of a call that was started as a stream, nil if it was not.
func (j *Job) Stream() *items.Stream { return j.stream }

// begin makes the stream of a call that has come.
func (l *nativeLine) begin(seq uint64, j *Job) {
	j.stream = items.New(l.peer, items.Server, seq, j.Priority)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams == nil {
		l.streams = map[uint64]*Job{}
	}
	l.streams[seq] = j
	j.unstream = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.streams[seq] == j {
			delete(l.streams, seq)
		}
	}
}

// stream returns the stream with a number, nil if there is none.
func (l *nativeLine) stream(seq uint64) *items.Stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	if j := l.streams[seq]; j != nil {
		return j.stream
	}
	return nil
}

// cut breaks all streams of a line that has ended.
func (l *nativeLine) cut() {
	l.mu.Lock()
	all := l.streams
	l.streams = nil
	l.mu.Unlock()
	for _, j := range all {
		j.stream.Break(conn.ErrCut)
		j.cancel(context.Canceled)
	}
}

// closeStream ends a job's stream, and puts the number of its items before the result. Of one that
// is cut there is no result.
func (j *Job) closeStream(code session.Code, reply []byte) (session.Code, []byte) {
	j.stream.Break(io.EOF)
	switch {
	case code != session.OK:
		return code, reply
	case j.stream.Cut():
		return session.Failed, wire.Failure(0, "an item was given up", nil)
	}
	head := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(reply)), j.stream.Sent())
	return code, append(head, reply...)
}

// cutShort tells a client that has closed a call of an item that does not go on. Others hear that the
// call has failed.
func (c *Core) cutShort(t *turn, j *Job) {
	if j.stream == nil || !j.entry.Unwanted() || !j.stream.Cut() || c.links[j.link.id] == nil {
		return
	}
	t.sends = append(t.sends, send{to: j.link, job: j, msg: session.Message{
		Kind: session.Reply, Seq: j.xid.Seq, Code: session.Canceled, Body: wire.Failure(0, "an item was given up", nil),
	}})
}
