package server

import (
	"context"
	"encoding/binary"
	"io"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/items"
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

// closeStream ends a job's stream, and puts the number of its items before the result.
func (j *Job) closeStream(reply []byte, ok bool) []byte {
	j.stream.Break(io.EOF)
	if !ok {
		return reply
	}
	head := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(reply)), j.stream.Sent())
	return append(head, reply...)
}
