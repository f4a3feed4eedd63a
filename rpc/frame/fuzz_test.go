package frame

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"
)

// typed fails unless err is one of ours.
func typed(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Reason == ReasonNone || e.Text == "" {
		t.Fatalf("%#v has no reason", err)
	}
}

// same fails unless what was parsed is written as it came.
func same(t *testing.T, wire, again []byte) {
	t.Helper()
	if !bytes.Equal(wire, again) {
		t.Fatalf("% x\nbecame\n% x", wire, again)
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, c := range goldenFrames {
		f.Add(unhex(f, c.wire)[:HeaderLen])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderLen {
			return
		}
		h, err := ParseHeader(b, DefaultMaxFrame)
		if err != nil {
			typed(t, err)
			return
		}
		if h.BodyLen < 0 || h.BodyLen > DefaultMaxFrame || h.ExtLen > MaxExt {
			t.Fatalf("%+v is too long", h)
		}
		if h.Type.Known() {
			if err := h.Check(); err != nil {
				t.Fatalf("what came cannot be sent: %v", err)
			}
		}
		again := make([]byte, HeaderLen)
		h.Put(again)
		same(t, b[:HeaderLen], again)
	})
}

func FuzzParseExt(f *testing.F) {
	f.Add(fullExt.Append(nil))
	f.Add((&Ext{Method: 1, Needs: []byte{1, 0, 0, 0, 0, 0, 0, 0}}).Append(nil))
	f.Add([]byte{0x7f, 1, 0, 0x80, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseExt(b)
		if err != nil {
			typed(t, err)
			return
		}
		wire := e.Append(nil)
		if len(wire)%8 != 0 || len(wire) > MaxExt {
			t.Fatalf("%d bytes of extensions", len(wire))
		}
		again, err := ParseExt(wire)
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("%+v became %+v, %v", e, again, err)
		}
	})
}

func FuzzParseHello(f *testing.F) {
	f.Add(unhex(f, helloWire))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHello(b)
		if err != nil {
			typed(t, err)
			return
		}
		again, err := ParseHello(h.Append(nil))
		if err != nil || !reflect.DeepEqual(again, h) {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
		ack := Answer(&h, goldenHelloAck)
		sent, err := ParseHelloAck(ack.Append(nil))
		if err != nil || sent.Reason != ack.Reason {
			t.Fatalf("%+v is answered with %+v, %v", h, ack, err)
		}
		if err := CheckAnswer(&h, &sent); (err == nil) != (ack.Reason == ReasonNone) {
			t.Fatalf("%+v is answered with %+v: %v", h, sent, err)
		}
	})
}

func FuzzParseHelloAck(f *testing.F) {
	f.Add(unhex(f, helloAckWire))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseHelloAck(b)
		if err != nil {
			typed(t, err)
			return
		}
		again, err := ParseHelloAck(a.Append(nil))
		if err != nil || !reflect.DeepEqual(again, a) {
			t.Fatalf("%+v became %+v, %v", a, again, err)
		}
	})
}

func FuzzParseGoAway(f *testing.F) {
	f.Add((&GoAway{Reason: ReasonIdle, Grace: time.Second, Text: "bye"}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParseGoAway(b)
		if err != nil {
			typed(t, err)
			return
		}
		again, err := ParseGoAway(g.Append(nil))
		if err != nil || again != g {
			t.Fatalf("%+v became %+v, %v", g, again, err)
		}
	})
}

func FuzzParseFailure(f *testing.F) {
	f.Add((&Failure{Code: 3, Execution: Executed, Retry: time.Second, Text: []byte("no"), Detail: []byte{1}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseFailure(b)
		if err != nil {
			typed(t, err)
			return
		}
		again, err := ParseFailure(x.Append(nil))
		if err != nil || !reflect.DeepEqual(again, x) {
			t.Fatalf("%+v became %+v, %v", x, again, err)
		}
	})
}

func FuzzParseOpen(f *testing.F) {
	f.Add((&Open{Session: [IDLen]byte{1}, Fence: Fence{Version: 1, Last: 9, Open: []uint64{4}}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOpen(b)
		if err != nil {
			typed(t, err)
			return
		}
		same(t, b, o.Append(nil))
	})
}

func FuzzParseWelcome(f *testing.F) {
	f.Add((&Welcome{Status: Gone, Session: [IDLen]byte{1}, Life: 7}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := ParseWelcome(b)
		if err != nil {
			typed(t, err)
			return
		}
		if again, err := ParseWelcome(w.Append(nil)); err != nil || again != w {
			t.Fatalf("%+v became %+v, %v", w, again, err)
		}
	})
}

func FuzzParseCredit(f *testing.F) {
	f.Add(Credit(5).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCredit(b)
		if err != nil {
			typed(t, err)
			return
		}
		same(t, b, c.Append(nil))
	})
}

func FuzzSniff(f *testing.F) {
	for _, o := range openings {
		f.Add([]byte(o.start))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, more := Sniff(b)
		if more && (p != ProtocolUnknown || len(b) >= SniffLen) || (p == ProtocolNative) != bytes.HasPrefix(b, []byte(Magic)) {
			t.Fatalf("% x is %v, more %v", b, p, more)
		}
	})
}
