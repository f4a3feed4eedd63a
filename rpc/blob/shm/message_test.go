package shm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"rpcpool.dev/rpc/blob"
)

var aMessage = message{
	op: opAnswer, mode: blob.InOut, rights: blob.Read, flags: flagWrite | flagFile, code: 3, segment: 4,
	handle: blob.Handle{ID: 5, Rights: blob.Write, Length: 6}, call: blob.Call{Session: [16]byte{7}, Seq: 8},
	ref: 9, offset: 10, length: 11, segmentBytes: 12, lease: 13, text: "text",
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for _, m := range []message{aMessage, {op: opHello}} {
		if got, err := parseMessage(m.append(nil)); err != nil || got != m {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	}
	long := message{op: opAnswer, text: strings.Repeat("x", 2*mostText)}
	if got, err := parseMessage(long.append(nil)); err != nil || len(got.text) != mostText {
		t.Errorf("a long text came back with %d bytes, %v", len(got.text), err)
	}
}

func TestMalformedMessages(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"nothing":                  func([]byte) []byte { return nil },
		"too short":                func(b []byte) []byte { return b[:messageLen-1] },
		"too long":                 func(b []byte) []byte { return append(b, make([]byte, mostText)...) },
		"no op":                    func(b []byte) []byte { b[0] = 0; return b },
		"unknown op":               func(b []byte) []byte { b[0] = byte(ops); return b },
		"unknown flags":            func(b []byte) []byte { b[3] = flags; return b },
		"reserved bytes are set":   func(b []byte) []byte { b[7] = 1; return b },
		"half a handle, no rights": func(b []byte) []byte { b[12+28] = 0; return b },
	} {
		if m, err := parseMessage(spoil(aMessage.append(nil))); !errors.Is(err, errMessage) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// TestErrorsAreToldApartOnTheOtherSide: by kind, and with all that they say.
func TestErrorsAreToldApartOnTheOtherSide(t *testing.T) {
	for code, kind := range errorCodes() {
		if code < 2 {
			continue
		}
		m := failed(errors.Join(kind, errors.New("and why")))
		if err := m.err(); !errors.Is(err, kind) || !strings.Contains(err.Error(), "and why") {
			t.Errorf("%v became %v", kind, err)
		}
	}
	for _, m := range []message{failed(errors.New("odd")), {code: 200, text: "odd"}} {
		if err := m.err(); err == nil || err.Error() != "odd" || errors.Is(err, blob.ErrGone) {
			t.Errorf("an error of no kind became %v", err)
		}
	}
	if quota := failed(&blob.QuotaError{Party: "p", Unit: "bytes"}); !errors.Is(quota.err(), blob.ErrQuota) {
		t.Errorf("quota became %v", quota.err())
	}
}

// FuzzParseMessage: what is accepted is encoded to the same bytes.
func FuzzParseMessage(f *testing.F) {
	f.Add(aMessage.append(nil))
	f.Add((&message{op: opDrop, segment: 1}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err == nil && !bytes.Equal(m.append(nil), b) {
			t.Errorf("%+v is not % x", m, b)
		}
		if err != nil && !errors.Is(err, errMessage) {
			t.Errorf("error %v", err)
		}
	})
}
