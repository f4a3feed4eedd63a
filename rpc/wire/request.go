package wire

import (
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

// Fence makes the frame that goes ahead of a client's message, if it says what is
// closed in one of its own.
func Fence(m *session.Message, f *conn.Message) (ahead bool) {
	if m.Closed == nil || m.Kind == session.Hello {
		return false
	}
	fence := frame.Fence(*m.Closed)
	*f = conn.Message{Header: frame.Header{Type: frame.TypeFence, Ack: m.Ack}, Body: fence.Append(nil)}
	return true
}

// Request makes the frame of a client's message. Priority, codec, method and
// trace of a CALL are the caller's to fill in. It returns false if [Fence] has said
// it all.
func Request(m *session.Message, f *conn.Message) bool {
	f.Seq, f.Ack = m.Seq, m.Ack
	switch m.Kind {
	case session.Call:
		f.Type, f.Priority = frame.TypeCall, frame.PriorityNormal
		if m.Idempotent {
			f.Flags |= frame.FlagIdempotent
		}
		f.Ext.Lane, f.Ext.Until, f.Body = m.Lane, uint64(m.Time), m.Body
		if m.Needs != nil {
			f.Ext.Needs = appendNeeds(nil, m.Needs)
		}
	case session.Hello:
		h := m.Greeting
		open := frame.Open{Session: h.Session, Secret: h.Secret, Former: h.Former, Proof: h.Proof, Resume: h.Resume}
		if m.Closed != nil {
			open.Fence = frame.Fence(*m.Closed)
		}
		f.Type, f.Body = frame.TypeOpen, open.Append(nil)
	case session.Cancel:
		f.Type = frame.TypeCancel
	case session.Ack:
		f.Type = frame.TypeAck
		return m.Closed == nil
	case session.Ping:
		f.Type = frame.TypeRenew
	case session.Bye:
		f.Type = frame.TypeBye
	}
	return true
}

// ParseRequest makes a client's message of a frame. It returns false if the frame
// is none of a session. The method of a call is its caller's number for it.
func ParseRequest(in *conn.In, m *session.Message) (bool, error) {
	*m = session.Message{Seq: in.Seq, Ack: in.Ack}
	switch in.Type {
	case frame.TypeCall:
		m.Kind, m.Method, m.Lane = session.Call, in.Ext.Method, in.Ext.Lane
		m.Time, m.Idempotent, m.Body = time.Duration(in.Ext.Until&(1<<63-1)), in.Flags&frame.FlagIdempotent != 0, in.Body
		if len(in.Ext.Needs) > 0 {
			m.Needs = parseNeeds(in.Ext.Needs)
		}
	case frame.TypeCancel:
		m.Kind = session.Cancel
	case frame.TypeAck:
		m.Kind = session.Ack
	case frame.TypeFence:
		m.Kind = session.Ack
		f, err := frame.ParseFence(in.Body)
		m.Closed = (*session.Fence)(&f)
		return true, err //nolint:wrapcheck // it says all
	case frame.TypeRenew:
		m.Kind = session.Ping
	case frame.TypeBye:
		m.Kind = session.Bye
	case frame.TypeOpen:
		m.Kind = session.Hello
		o, err := frame.ParseOpen(in.Body)
		m.Closed = (*session.Fence)(&o.Fence)
		m.Greeting = &session.Handshake{Session: o.Session, Secret: o.Secret, Former: o.Former, Proof: o.Proof, Resume: o.Resume}
		return true, err //nolint:wrapcheck // it says all
	default:
		return false, nil
	}
	return true, nil
}
