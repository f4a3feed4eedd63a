package wire

import (
	"bytes"
	"errors"
	"testing"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

// refused fails unless an error is one that closes the connection with a reason.
func refused(t *testing.T, err error) {
	t.Helper()
	var e *frame.Error
	if !errors.As(err, &e) || e.Reason == frame.ReasonNone {
		t.Fatalf("%v has no reason", err)
	}
}

// received is what a fuzzer says is a frame: its type, its flags, its number, its deadline, what it needs, and its body.
func received(kind, flags uint8, seq, until uint64, needs, body []byte) *conn.In {
	return &conn.In{
		Header: frame.Header{Type: frame.Type(kind), Flags: frame.Flags(flags), Seq: seq, Ack: seq / 2},
		Ext:    frame.Ext{Method: 1, Until: until, Needs: needs}, Body: body,
	}
}

func FuzzParseRequest(f *testing.F) {
	fence := frame.Fence{Version: 1, Last: 9, Open: []uint64{4}}
	f.Add(uint8(frame.TypeCall), uint8(frame.FlagIdempotent), uint64(7), uint64(1)<<63, []byte{1, 0, 0, 0, 0, 0, 0, 0}, []byte("args"))
	f.Add(uint8(frame.TypeFence), uint8(0), uint64(0), uint64(0), []byte(nil), fence.Append(nil))
	f.Add(uint8(frame.TypeOpen), uint8(0), uint64(0), uint64(0), []byte(nil), (&frame.Open{Session: [16]byte{1}, Fence: fence}).Append(nil))
	f.Fuzz(func(t *testing.T, kind, flags uint8, seq, until uint64, needs, body []byte) {
		var m session.Message
		ok, err := ParseRequest(received(kind, flags, seq, until, needs, body), &m)
		switch {
		case err != nil:
			refused(t, err)
		case ok && m.Time < 0:
			t.Fatalf("%+v is due before there was time", m)
		case ok && m.Needs != nil && len(m.Needs.Calls) != len(needs)/8:
			t.Fatalf("%d bytes are %d calls", len(needs), len(m.Needs.Calls))
		}
	})
}

func FuzzParseNeeds(f *testing.F) {
	f.Add(appendNeeds(nil, &session.Needs{Calls: []uint64{4, 6}}))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		if again := appendNeeds(nil, parseNeeds(b)); !bytes.Equal(again, b[:len(b)/8*8]) {
			t.Fatalf("% x became % x", b, again)
		}
	})
}

func FuzzParseResponse(f *testing.F) {
	f.Add(uint8(frame.TypeReply), uint64(7), []byte("result"))
	f.Add(uint8(frame.TypeError), uint64(7), (&frame.Failure{Code: 3, Execution: frame.Executed, Text: []byte("no")}).Append(nil))
	f.Add(uint8(frame.TypeRenewed), uint64(0), frame.Renewed(1<<63).Append(nil))
	f.Add(uint8(frame.TypeWelcome), uint64(0), (&frame.Welcome{Status: frame.Gone, Time: 1 << 63}).Append(nil))
	f.Fuzz(func(t *testing.T, kind uint8, seq uint64, body []byte) {
		var m session.Message
		ok, err := ParseResponse(received(kind, 0, seq, 0, nil, body), &m)
		switch {
		case err != nil:
			refused(t, err)
		case ok && (m.Time < 0 || m.Code >= session.Codes || m.Execution > session.Executed):
			t.Fatalf("%+v has values that there are none of", m)
		}
	})
}

func FuzzParseTrace(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more")
	f.Fuzz(func(t *testing.T, s string) {
		trace := ParseTrace(s)
		if trace == nil {
			return
		}
		if again := ParseTrace(FormatTrace(trace)); len(trace) != frame.TraceLen || !bytes.Equal(again, trace) {
			t.Fatalf("%q became % x, then % x", s, trace, again)
		}
	})
}
