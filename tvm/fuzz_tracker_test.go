package tvm

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzFrameLen(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0})
	f.Add([]byte{0, 0, 0x10, 0})
	f.Add([]byte{0, 0, 0, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < FrameHeader {
			return
		}
		n, err := FrameLen([4]byte(b))
		if err != nil {
			if n != 0 || !errors.Is(err, ErrFrameLength) {
				t.Fatalf("%d, %v", n, err)
			}
			return
		}
		if n < 1 || n > MaxFrame {
			t.Fatalf("length %d", n)
		}
		if again := AppendFrame(nil, make([]byte, n)); !bytes.Equal(again[:4], b[:4]) {
			t.Fatalf("% x became % x", b[:4], again[:4])
		}
	})
}

// FuzzParseMessage holds the parser against encoding/json, and what it takes
// against what we write for it.
func FuzzParseMessage(f *testing.F) {
	for _, c := range goldenMessages {
		f.Add(unhex(f, c.wire)[FrameHeader:])
	}
	for _, c := range accepted {
		f.Add([]byte(c.payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		m, err := ParseMessage(payload)
		want, oracle := oracleMessage(payload)
		if err != nil {
			if m != nil || !errors.Is(err, ErrMessage) && !errors.Is(err, ErrUnknownCode) {
				t.Fatalf("%q: %v, %v", payload, m, err)
			}
			if oracle == nil && !stricter(payload, want) {
				t.Fatalf("%q is refused (%v), but is %+v", payload, err, want)
			}
			return
		}
		if oracle != nil || !sameMessage(m, want) {
			t.Fatalf("%q: got %+v, want %+v", payload, m, want)
		}
		wire := m.AppendPayload(nil)
		checkText(t, wire)
		again, err := ParseMessage(wire)
		if err != nil {
			t.Fatalf("%q, written as %q: %v", payload, wire, err)
		}
		if second := again.AppendPayload(nil); !bytes.Equal(second, wire) {
			t.Fatalf("%q, then %q", wire, second)
		}
		// Raw fields come back escaped, so only the others are the same values.
		if _, raw := m.(UpdateInfo); !raw && !sameMessage(m, again) {
			t.Fatalf("%+v became %+v", m, again)
		}
	})
}

// checkText checks what peers rely on in everything that we write: JSON, in
// ASCII, on one line.
func checkText(t *testing.T, payload []byte) {
	t.Helper()
	if !json.Valid(payload) || len(payload) == 0 || payload[len(payload)-1] <= ' ' {
		t.Fatalf("%q is not what peers expect", payload)
	}
	for _, c := range payload {
		if c >= utf8.RuneSelf {
			t.Fatalf("%q has byte %#x", payload, c)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	for _, s := range []string{`0`, `-1`, `1`, "0\n", `[0]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := ParseStatus(payload)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatal(err)
			}
			return
		}
		if again := AppendStatus(nil, c); !bytes.Equal(again, payload) {
			t.Fatalf("%q became %q", payload, again)
		}
	})
}

func FuzzParseGrant(f *testing.F) {
	for _, s := range []string{`[0, ["10.0.0.7", 9090, "rasp:0.5"]]`, `[0,["h","9090","k:1","more"],1]`, `-1`, `[-1]`, `[0,["\u00e9",1e9,"é"]]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		g, err := ParseGrant(payload)
		if err != nil {
			if !errors.Is(err, ErrMessage) && !errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
			return
		}
		wire := g.AppendPayload(nil)
		checkText(t, wire)
		again, err := ParseGrant(wire)
		if err != nil || !reflect.DeepEqual(again, g) {
			t.Fatalf("%+v became %+v, %v", g, again, err)
		}
	})
}

func FuzzParseMatchKeys(f *testing.F) {
	for _, s := range []string{`["rasp:0.5"]`, `[]`, `["a<b>&c/d:1", "\ud83d\ude00"]`, `[1]`, `["a",]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		keys, err := ParseMatchKeys(payload)
		var std []string
		stdErr := json.Unmarshal(payload, &std)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatal(err)
			}
			return
		}
		if stdErr != nil || len(std) != len(keys) || len(keys) > len(payload)/2 {
			t.Fatalf("%q: got %q, want %q", payload, keys, std)
		}
		wire := AppendMatchKeys(nil, keys)
		checkText(t, wire)
		again, err := ParseMatchKeys(wire)
		if err != nil || !reflect.DeepEqual(again, keys) {
			t.Fatalf("%q became %q, %v", keys, again, err)
		}
	})
}

func FuzzParseSummaryReply(f *testing.F) {
	for _, s := range []string{
		fullSummaryText, `[0, {"queue_info": {}, "server_info": []}]`, `[0,{}]`, `-1`, `[0,{"server_info":[{"key":"server:é"}]}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := ParseSummaryReply(payload)
		if err != nil {
			if !errors.Is(err, ErrMessage) && !errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
			return
		}
		wire, err := s.AppendPayload(nil)
		if err != nil {
			t.Fatal(err)
		}
		checkText(t, wire)
		again, err := ParseSummaryReply(wire)
		if err != nil {
			t.Fatal(err)
		}
		second, err := again.AppendPayload(nil)
		if err != nil || !bytes.Equal(wire, second) {
			t.Fatalf("%q, then %q, %v", wire, second, err)
		}
		if text := TextSummary(s); text != TextSummary(again) || !utf8.ValidString(text) {
			t.Fatalf("tables differ:\n%s\n%s", text, TextSummary(again))
		}
		for i := range s.Servers {
			_, _ = s.Servers[i].Addr()
			_, _ = s.Servers[i].State(), s.Servers[i].Age()
		}
	})
}

func FuzzParseClientKey(f *testing.F) {
	for _, s := range []string{"client:rasp:0.5 -timeout=10", "client:", "server:k", " client:k\t-timeout=1e-05 -timeout=nan", "client:k -timeout=1e308"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		hello, err := ParseClientKey(key)
		if err != nil {
			if !errors.Is(err, ErrNotClient) && !errors.Is(err, ErrKeyEncoding) {
				t.Fatal(err)
			}
			return
		}
		if hello.Raw != string(key) || hello.HasTimeout != (hello.Timeout > 0) || hello.Timeout < 0 {
			t.Fatalf("%+v", hello)
		}
		wire := AppendClientHello(nil, hello.MatchKey, hello.Timeout)
		again, err := ParseClientKey(wire[HandshakeHeader:])
		// The number of seconds is a float64: 292 years have no nanoseconds in it.
		if err != nil || again.MatchKey != hello.MatchKey || (again.Timeout-hello.Timeout).Abs() > hello.Timeout/(1<<50)+10*time.Nanosecond {
			t.Fatalf("%+v became %+v, %v", hello, again, err)
		}
	})
}

func FuzzHandshakeLen(f *testing.F) {
	f.Add(AppendClientHello(nil, "k", 0)[:HandshakeHeader])
	f.Add(appendI32(appendI32(nil, Magic), -1))
	f.Add([]byte("GET / HT"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HandshakeHeader {
			return
		}
		n, err := HandshakeLen([8]byte(b))
		if err != nil {
			if n != 0 || !errors.Is(err, ErrBadMagic) && !errors.Is(err, ErrHandshakeKeyLength) {
				t.Fatalf("%d, %v", n, err)
			}
			return
		}
		if n < 1 || n > MaxHandshakeKey || !bytes.Equal(appendI32(appendI32(nil, Magic), int32(n)), b[:HandshakeHeader]) {
			t.Fatalf("% x: length %d", b[:HandshakeHeader], n)
		}
	})
}

func FuzzParseServerAnswer(f *testing.F) {
	f.Add(AppendAccept(nil, "server:rasp"))
	f.Add(AppendMismatch(nil))
	f.Add(appendI32(nil, HandshakeDuplicate))
	f.Add(appendI32(appendI32(nil, HandshakeSuccess), -1))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, n, err := ParseServerAnswer(b)
		switch {
		case errors.Is(err, ErrShortAnswer):
			if n <= len(b) || n > HandshakeHeader+MaxHandshakeKey {
				t.Fatalf("% x: %d bytes needed", b, n)
			}
			return
		case err != nil:
			if !errors.Is(err, ErrBadMagic) && !errors.Is(err, ErrHandshakeKeyLength) {
				t.Fatal(err)
			}
			return
		}
		var again []byte
		switch {
		case a.Err() == nil:
			again = AppendAccept(nil, a.ServerKey)
		case errors.Is(a.Err(), ErrMismatch):
			again = AppendMismatch(nil)
		default:
			again = appendI32(nil, HandshakeDuplicate)
		}
		if !bytes.Equal(again, b[:n]) {
			t.Fatalf("% x became % x", b[:n], again)
		}
	})
}

func FuzzDeviceKey(f *testing.F) {
	for _, s := range []string{"127.0.0.1:5555:0.3", "proxy[a,b]", "", "\xff", "a b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if deviceKey, ok := SplitMatchKey(s); ok && (len(deviceKey) >= len(s) || s[len(deviceKey)] != ':') {
			t.Fatalf("%q split at %q", s, deviceKey)
		}
		if ValidateDeviceKey(s) != nil {
			return
		}
		// A valid key passes through every layer as it is.
		mk, err := NewMatchKey(s, bytes.NewReader(make([]byte, 16)))
		if err != nil {
			t.Fatal(err)
		}
		if deviceKey, ok := SplitMatchKey(mk); deviceKey != s || !ok {
			t.Fatalf("%q became %q", s, deviceKey)
		}
		if hello, err := ParseClientKey([]byte("client:" + mk)); err != nil || hello.MatchKey != mk {
			t.Fatalf("%q became %+v, %v", mk, hello, err)
		}
		if text := appendString(nil, mk); string(text) != `"`+mk+`"` {
			t.Fatalf("%q is escaped: %s", mk, text)
		}
	})
}

func FuzzPortText(f *testing.F) {
	for _, s := range []string{`9090`, `"9090"`, `"\u0039"`, `null`, `"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		text := PortText(b)
		if text != "" && !json.Valid(b) {
			t.Fatalf("%q gave %q", b, text)
		}
	})
}
