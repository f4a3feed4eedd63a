package remote

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
)

var full = message{
	Op: opGet, Mode: blob.InOut, Rights: blob.Read | blob.Write, Flags: flagPull,
	Handle: blob.Handle{ID: 1, Generation: 2, Rights: blob.Read, Length: 3, Token: blob.Token{4}},
	Offset: 5, Length: 6, Number: 7, Time: 8, Text: []byte("text"),
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	join := message{Op: opJoin, Secret: [secretLen]byte{9, 8, 7}, Time: 1000, Text: []byte("name")}
	for _, m := range []message{full, join, {Op: opRenew, Text: []byte{}}} {
		got, err := parse(m.append(nil), false)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	}
	answer := full
	answer.Op, answer.Code = 0, codeChecksum
	got, err := parse(answer.append(nil), true)
	if err != nil || !reflect.DeepEqual(got, answer) {
		t.Errorf("%+v came back as %+v, %v", answer, got, err)
	}
}

func TestErrorsAreToldApartOnTheOtherSide(t *testing.T) {
	for c, want := range codes() {
		m := refusal(want)
		if m.Code != c {
			t.Errorf("%v has code %d, want %d", want, m.Code, c)
		}
		if err := refused("try", m.Code, m.Text, m.Time); !errors.Is(err, want) && c != codeOther {
			t.Errorf("code %d is %v, want %v", c, err, want)
		}
	}
	if err := refused("try", 250, nil, 0); err == nil {
		t.Error("a code that nobody knows is no error")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(full.append(nil), false)
	f.Add(full.append(nil), true)
	f.Add((&message{Op: opCopy, Handle: full.Handle, Offset: 3, Length: 6, Number: 7, Rights: blob.Read}).append(nil), false)
	f.Add((&message{Op: opJoin, Secret: [secretLen]byte{1}}).append(nil), false)
	f.Fuzz(func(t *testing.T, b []byte, answer bool) {
		m, err := parse(b, answer)
		var bad *frame.Error
		if err != nil {
			if !errors.As(err, &bad) || bad.Reason == frame.ReasonNone {
				t.Fatalf("%v has no reason", err)
			}
			return
		}
		if again := m.append(nil); !bytes.Equal(again, b) {
			t.Fatalf("% x\nbecame\n% x", b, again)
		}
		if l := m.lease(); l < 0 || l > maxLease {
			t.Fatalf("lease of %v", l)
		}
	})
}

func FuzzParseReady(f *testing.F) {
	f.Add((&ready{Code: 1, Sum: 2, Length: 3, Text: []byte("x")}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReady(b)
		var bad *frame.Error
		if err != nil {
			if !errors.As(err, &bad) {
				t.Fatalf("%v has no reason", err)
			}
			return
		}
		if again := r.append(nil); !bytes.Equal(again, b) && len(r.Text) <= 1024 {
			t.Fatalf("% x\nbecame\n% x", b, again)
		}
	})
}
