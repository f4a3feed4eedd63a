package wire

import (
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

// failureHead is what of an ERROR's body is not in Outcome.Reply: code and execution.
const failureHead = 4

// Failure makes the Reply of an Outcome that is an error. retry is how long to wait
// before another attempt, 0: not said, negative: do not; text is for people, cut to
// 1024 bytes; detail is what the layer above makes of it.
func Failure(retry time.Duration, text string, detail []byte) []byte {
	f := frame.Failure{Retry: retry, Text: []byte(text), Detail: detail}
	return f.Append(nil)[failureHead:]
}

// ParseFailure reads what [Failure] has made. Bytes that are none are a text.
func ParseFailure(reply []byte) (retry time.Duration, text string, detail []byte) {
	if len(reply) == 0 {
		return 0, "", nil
	}
	f, err := frame.ParseFailure(append(make([]byte, failureHead, failureHead+len(reply)), reply...))
	if err != nil {
		return 0, string(reply), nil
	}
	return f.Retry, string(f.Text), f.Detail
}

// Response makes the frame of a server's message.
func Response(m *session.Message, f *conn.Message) {
	f.Seq, f.Ack = m.Seq, m.Fence
	switch m.Kind {
	case session.Reply:
		f.Priority = frame.PriorityNormal
		f.Type, f.Body, f.Ext.Blobs = frame.TypeReply, m.Body, m.Blobs
		if m.Code != session.OK {
			f.Type, f.Body = frame.TypeError, failure(m)
		}
	case session.Welcome:
		welcome(f, frame.Welcomed, m)
	case session.Gone:
		welcome(f, frame.Gone, m)
	case session.Full:
		welcome(f, frame.Full, m)
	case session.InProgress:
		f.Type = frame.TypeInProgress
	case session.Started:
		f.Type = frame.TypeStarted
	case session.Pong:
		f.Type, f.Body = frame.TypeRenewed, frame.Renewed(m.Time).Append(nil)
	case session.Confirm:
		f.Type = frame.TypeAck
	}
}

// failure is the body of an ERROR.
func failure(m *session.Message) []byte {
	body := append(make([]byte, 0, failureHead+len(m.Body)+6), byte(m.Code), 0, byte(m.Execution), 0)
	if len(m.Body) < 6 {
		return append(body, 0, 0, 0, 0, 0, 0)
	}
	return append(body, m.Body...)
}

func welcome(f *conn.Message, status frame.Status, m *session.Message) {
	w := frame.Welcome{Status: status, Time: uint64(m.Time)}
	if h := m.Greeting; h != nil {
		w.Session, w.Domain, w.Life, w.Resumed = h.Session, h.Domain, h.Life, h.Resume
	}
	f.Type, f.Body = frame.TypeWelcome, w.Append(nil)
}

// ParseResponse makes a server's message of a frame. It returns false if the frame
// is none of a session.
func ParseResponse(in *conn.In, m *session.Message) (bool, error) {
	*m = session.Message{Seq: in.Seq, Fence: in.Ack}
	switch in.Type {
	case frame.TypeReply:
		m.Kind, m.Execution, m.Body = session.Reply, session.Executed, in.Body
		m.Blobs = in.Ext.Blobs
	case frame.TypeError:
		f, err := frame.ParseFailure(in.Body)
		if err != nil {
			return true, err //nolint:wrapcheck // it says all
		}
		m.Kind, m.Code, m.Execution = session.Reply, code(f.Code), session.Execution(f.Execution)
		m.Body = in.Body[failureHead:]
	case frame.TypeStarted:
		m.Kind = session.Started
	case frame.TypeInProgress:
		m.Kind = session.InProgress
	case frame.TypeAck:
		m.Kind = session.Confirm
	case frame.TypeRenewed:
		t, err := frame.ParseRenewed(in.Body)
		m.Kind, m.Time = session.Pong, serverTime(uint64(t))
		return true, err //nolint:wrapcheck // it says all
	case frame.TypeWelcome:
		return true, parseWelcome(in.Body, m)
	default:
		return false, nil
	}
	return true, nil
}

func parseWelcome(body []byte, m *session.Message) error {
	w, err := frame.ParseWelcome(body)
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	m.Kind = [...]session.Kind{session.Welcome, session.Gone, session.Full}[w.Status]
	m.Time = serverTime(w.Time)
	m.Greeting = &session.Handshake{Session: w.Session, Domain: w.Domain, Life: w.Life, Resume: w.Resumed}
	return nil
}

// serverTime keeps a server's clock to where sums with it do not overflow.
func serverTime(ns uint64) time.Duration { return time.Duration(min(ns, 1<<60)) }

// code is what a later version's code is taken for by this one.
func code(n uint16) session.Code {
	if n == 0 || n >= uint16(session.Codes) {
		return session.Failed
	}
	return session.Code(n)
}
