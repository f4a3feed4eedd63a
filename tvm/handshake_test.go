package tvm

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestRow066_HandshakeKeyLength also covers row 62.
func TestRow066_HandshakeKeyLength(t *testing.T) {
	header := func(magic, n int32) [8]byte { return [8]byte(appendI32(appendI32(nil, magic), n)) }
	cases := []struct {
		name   string
		header [8]byte
		want   int
		err    error
	}{
		{"the shortest", header(Magic, 1), 1, nil},
		{"the longest", header(Magic, MaxHandshakeKey), MaxHandshakeKey, nil},
		{"one too long", header(Magic, MaxHandshakeKey+1), 0, ErrHandshakeKeyLength},
		{"zero", header(Magic, 0), 0, ErrHandshakeKeyLength},
		{"-1", header(Magic, -1), 0, ErrHandshakeKeyLength},
		{"2 GiB", header(Magic, math.MaxInt32), 0, ErrHandshakeKeyLength},
		{"the tracker's magic", header(TrackerMagic, 5), 0, ErrBadMagic},
		{"a server's refusal", header(HandshakeMismatch, 5), 0, ErrBadMagic},
		{"zeros", [8]byte{}, 0, ErrBadMagic},
		{"a browser", [8]byte([]byte("GET / HT")), 0, ErrBadMagic},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n, err := HandshakeLen(c.header)
			if n != c.want {
				t.Errorf("got %d, want %d", n, c.want)
			}
			if c.err != nil {
				wantErr(t, err, c.err)
			}
		})
	}
}

// TestClientTimeouts covers rows 69 to 71.
func TestClientTimeouts(t *testing.T) {
	cases := []struct {
		options string
		want    time.Duration // 0: none
	}{
		{"", 0},
		{"-timeout=10", 10 * time.Second},
		{"-timeout=10.0", 10 * time.Second},
		{"-timeout=0.01", 10 * time.Millisecond},
		{"-timeout=1e-05", 10 * time.Microsecond},
		{"-timeout=+2E1", 20 * time.Second},
		{"-timeout=.5", 500 * time.Millisecond},
		{"-timeout=1e-300", 1},
		{"-timeout=1e308", math.MaxInt64},
		{"-timeout=9223372036854775807", math.MaxInt64},
		{"-timeout=abc", 0},
		{"-timeout=", 0},
		{"-timeout=-1", 0},
		{"-timeout=0", 0},
		{"-timeout=-0", 0},
		{"-timeout=0.0", 0},
		{"-timeout=nan", 0},
		{"-timeout=inf", 0},
		{"-timeout=-inf", 0},
		{"-timeout=Infinity", 0},
		{"-timeout=1e309", 0},
		{"-timeout=1e999999999999", 0},
		{"-timeout=0x10", 0},
		{"-timeout=1_0", 0},
		{"-timeout=1,5", 0},
		{"-timeout=10s", 0},
		{"-timeout=" + strings.Repeat("9", 4000), 0},
		{"timeout=10", 0},
		{"-foo=1 bar", 0},
		{"-foo=1 bar -timeout=3 baz", 3 * time.Second},
		{"-timeout=1 -timeout=2", 2 * time.Second},
		{"-timeout=1 -timeout=abc", time.Second},
		{"-timeout=abc -timeout=1", time.Second},
		{"-timeout=1 -timeout=-1", time.Second},
	}
	for _, c := range cases {
		t.Run(c.options, func(t *testing.T) {
			raw := strings.TrimSuffix("client:k:1 "+c.options, " ")
			got, err := ParseClientKey([]byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			if got.MatchKey != "k:1" || got.Timeout != c.want || got.HasTimeout != (c.want != 0) || got.Raw != raw {
				t.Errorf("got %+v, want a timeout of %v", got, c.want)
			}
		})
	}
}

func TestClientKeys(t *testing.T) {
	cases := []struct {
		key      string
		matchKey string
		err      error
	}{
		{"client:rasp:0.5", "rasp:0.5", nil},
		{"client:", "", nil},
		{"  client:k\t-timeout=1\n", "k", nil},
		{"client:k\x00x", "k\x00x", nil},
		{"client:client:k", "client:k", nil},
		{"server:rasp:0.5", "", ErrNotClient},
		{"Client:k", "", ErrNotClient},
		{"client", "", ErrNotClient},
		{"-timeout=1 client:k", "", ErrNotClient},
		{"", "", ErrNotClient},
		{"    ", "", ErrNotClient},
		{"\u00a0", "", ErrNotClient},
		{"client:\xff", "", ErrKeyEncoding},
		{"\xff\xfe", "", ErrKeyEncoding},
	}
	for _, c := range cases {
		t.Run(c.key, func(t *testing.T) {
			got, err := ParseClientKey([]byte(c.key))
			if c.err != nil {
				wantErr(t, err, c.err)
				return
			}
			if err != nil || got.MatchKey != c.matchKey {
				t.Errorf("got %+v, %v, want match key %q", got, err, c.matchKey)
			}
		})
	}
}

func TestClientHelloTimeouts(t *testing.T) {
	cases := map[time.Duration]string{
		0:                             "client:k",
		-time.Second:                  "client:k",
		time.Second:                   "client:k -timeout=1",
		time.Hour:                     "client:k -timeout=3600",
		1500 * time.Millisecond:       "client:k -timeout=1.5",
		10 * time.Microsecond:         "client:k -timeout=0.00001",
		time.Nanosecond:               "client:k -timeout=0.000000001",
		time.Duration(math.MaxInt64):  "client:k -timeout=9223372036.854776",
		time.Minute + time.Nanosecond: "client:k -timeout=60.000000001",
	}
	for d, want := range cases {
		b := AppendClientHello(nil, "k", d)
		if got := string(b[HandshakeHeader:]); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

// TestClientHelloRoundTrip: what our client says, our server understands.
func TestClientHelloRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		matchKey := rapid.StringMatching(`[A-Za-z0-9._:$\[\]-]{0,40}`).Draw(t, "match key")
		timeout := time.Duration(rapid.Int64Range(0, int64(100*24*time.Hour)).Draw(t, "timeout"))
		b := AppendClientHello(nil, matchKey, timeout)
		n, err := HandshakeLen([8]byte(b))
		if err != nil || n != len(b)-HandshakeHeader {
			t.Fatalf("length %d, %v", n, err)
		}
		got, err := ParseClientKey(b[HandshakeHeader:])
		if err != nil || got.MatchKey != matchKey || got.HasTimeout != (timeout > 0) || (got.Timeout-timeout).Abs() > 10 {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
}

func TestServerAnswerGrowsByteByByte(t *testing.T) {
	for _, whole := range [][]byte{AppendAccept(nil, "server:rasp"), AppendAccept(nil, ""), AppendMismatch(nil)} {
		var got []byte
		for {
			answer, n, err := ParseServerAnswer(got)
			if err == nil {
				if n != len(whole) || answer.Code != readI32(whole) {
					t.Errorf("% x: got %+v, %d", whole, answer, n)
				}
				break
			}
			if !errors.Is(err, ErrShortAnswer) || n <= len(got) || n > len(whole) {
				t.Fatalf("% x: at %d bytes: %d, %v", whole, len(got), n, err)
			}
			got = whole[:len(got)+1]
		}
	}
}

func TestBadServerAnswers(t *testing.T) {
	cases := []struct {
		name string
		wire []byte
		want error
	}{
		{"a tracker", AppendTrackerMagic(nil), ErrBadMagic},
		{"an SSH server", []byte("SSH-2.0-OpenSSH"), ErrBadMagic},
		{"key too long", appendI32(appendI32(nil, HandshakeSuccess), MaxHandshakeKey+1), ErrHandshakeKeyLength},
		{"key of negative length", appendI32(appendI32(nil, HandshakeSuccess), -1), ErrHandshakeKeyLength},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := ParseServerAnswer(c.wire)
			wantErr(t, err, c.want)
		})
	}
}

func TestDeviceKeys(t *testing.T) {
	for _, key := range []string{"rasp4", "127.0.0.1:5555", "$local$device$9000", "proxy[a]", "A_b-c.D"} {
		if err := ValidateDeviceKey(key); err != nil {
			t.Error(err)
		}
	}
	for key, offender := range map[string]string{
		"": "empty", "a b": "' '", "a\"": `'"'`, `a\b`: `'\\'`, "é": "'é'", "a\n": `'\n'`, "a/b": "'/'", "<a>": "'<'", "\xff": `'�'`,
		"a,b": "','", "a\x00": `'\x00'`,
	} {
		err := ValidateDeviceKey(key)
		wantErr(t, err, ErrDeviceKey)
		if err != nil && !strings.Contains(err.Error(), offender) {
			t.Errorf("error %q does not name %s", err, offender)
		}
	}
}

func TestMatchKeysSplitAtTheLastColon(t *testing.T) {
	cases := []struct {
		matchKey, deviceKey string
		ok                  bool
	}{
		{"rasp:0.5", "rasp", true},
		{"127.0.0.1:5555:0.3", "127.0.0.1:5555", true},
		{"abc", "", false},
		{"", "", false},
		{":", "", true},
		{"k:", "k", true},
	}
	for _, c := range cases {
		if got, ok := SplitMatchKey(c.matchKey); got != c.deviceKey || ok != c.ok {
			t.Errorf("%q: got %q, %v", c.matchKey, got, ok)
		}
	}
}

func TestNewMatchKey(t *testing.T) {
	got, err := NewMatchKey("rk:3588", bytes.NewReader(bytes.Repeat([]byte{0xa5}, 16)))
	if err != nil || got != "rk:3588:UWS2LJNFUWS2LJNFUWS2LJNFUU" {
		t.Errorf("got %q, %v", got, err)
	}
	if key, ok := SplitMatchKey(got); key != "rk:3588" || !ok {
		t.Errorf("device key is %q", key)
	}
	if err := ValidateDeviceKey(got); err != nil {
		t.Errorf("peers cannot carry it: %v", err)
	}
	if _, err := NewMatchKey("k", strings.NewReader("too short")); err == nil {
		t.Error("no error although there is not enough randomness")
	}
}
