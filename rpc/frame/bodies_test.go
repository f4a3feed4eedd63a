package frame

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/tvm"
)

var fullExt = Ext{
	Method: 7, MessageLen: 1 << 33, Until: 1 << 40, Attempt: 3,
	Lane: 11, Trace: bytes.Repeat([]byte{0xab}, TraceLen), PlainLen: 1 << 20, Load: 40,
	Needs: []byte{5, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0},
}

// A worker's clock is behind the last field of the first version, and is there if it is said.
func TestAWorkerSaysWhatItsClockShows(t *testing.T) {
	short := goldenHelloAck.Append(nil)
	ack := goldenHelloAck
	ack.Machine = 3 * time.Hour
	long := ack.Append(nil)
	if !bytes.Equal(long[:len(short)], short) || len(long) != len(short)+8 {
		t.Errorf("% x is not % x with 8 bytes more", long, short)
	}
	for n := len(short); n <= len(long)+3; n++ { // cut off, whole, and longer
		got, err := ParseHelloAck(append(long, 1, 2, 3)[:n])
		if want := ack.Machine; err != nil || n >= len(long) && got.Machine != want || n < len(long) && got.Machine != 0 {
			t.Errorf("%d of %d bytes: %v, %v", n, len(long), got.Machine, err)
		}
	}
}

func TestExtensionsAreTheseBytes(t *testing.T) {
	wire := fullExt.Append(nil)
	wantBytes(t, wire, unhex(t, `01 04 07 00 00 00  02 08 00 00 00 00 02 00 00 00  03 08 00 00 00 00 00 01 00 00
		05 01 03  06 08 0b 00 00 00 00 00 00 00  07 19`+strings.Repeat("ab", TraceLen)+`
		08 08 00 00 10 00 00 00 00 00  09 04 28 00 00 00
		0c 10 05 00 00 00 00 00 00 00 04 01 00 00 00 00 00 00 00 00 00 00`))
	got, err := ParseExt(wire)
	if err != nil || !reflect.DeepEqual(got, fullExt) {
		t.Errorf("got %+v, %v", got, err)
	}
	if none := (&Ext{}).Append(nil); len(none) != 0 {
		t.Errorf("no extensions take % x", none)
	}
}

func TestBadExtensions(t *testing.T) {
	for _, c := range []struct {
		name, area string
		want       Reason
	}{
		{"cut off after the id", "01", ReasonProtocol},
		{"value longer than the area", "01 07 00 00 00 00 00 00", ReasonProtocol},
		{"method of one byte", "01 01 07 00 00 00 00 00", ReasonProtocol},
		{"method 0", "01 04 00 00 00 00 00 00", ReasonProtocol},
		{"method twice", "01 04 01 00 00 00 01 04 01 00 00 00 00 00 00 00", ReasonProtocol},
		{"time of four bytes", "03 04 01 00 00 00 00 00", ReasonProtocol},
		{"attempt 0", "05 01 00 00 00 00 00 00", ReasonProtocol},
		{"trace that is too short", "07 01 00 00 00 00 00 00", ReasonProtocol},
		{"needs of no call", "0c 00 00 00 00 00 00 00", ReasonProtocol},
		{"needs that are cut off", "0c 04 01 00 00 00 00 00", ReasonProtocol},
		{"needs of call 0", "0c 08 00 00 00 00 00 00 00 00 00 00 00 00 00 00", ReasonProtocol},
		{"too many needs", "0c 48" + strings.Repeat("01 00 00 00 00 00 00 00", 9) + "00 00 00 00 00 00", ReasonProtocol},
		{"critical and unknown", "80 00 00 00 00 00 00 00", ReasonUnknownExt},
		{"padding of a whole unit", "00 00 00 00 00 00 00 00", ReasonProtocol},
		{"padding that is not zero", "01 04 07 00 00 00 00 01", ReasonProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseExt(unhex(t, c.area))
			wantReason(t, err, c.want)
		})
	}
	if e, err := ParseExt(unhex(t, "7f 02 aa bb 05 01 02 00")); err != nil || e.Attempt != 2 {
		t.Errorf("an unknown extension is not skipped: %+v, %v", e, err)
	}
}

var (
	goldenHello = Hello{
		MinVersion: 1, MaxVersion: 1, Limits: Limits{MaxFrame: 1 << 18, MaxMessage: 1 << 26, Window: 1 << 18},
		Features: FeatureCRC | FeatureStreams, Codecs: 7, Compressors: 3,
		Token: []byte("secret"), Target: []byte("rk3588"),
	}
	goldenHelloAck = HelloAck{
		Version: 1, Limits: Limits{MaxFrame: 1 << 18, MaxMessage: 1 << 26, Window: 1 << 18},
		Features: FeatureCRC, Codecs: 5, Compressors: 1, Lease: 5 * time.Minute, MaxDeadline: DeadlineOf(time.Hour),
		MaxOpen: 512, Epoch: 12, Text: []byte{},
	}
	helloWire = `01 00 01 00  00 00 04 00  00 00 00 04 00 00 00 00  00 00 04 00 00 00 00 00  03 00 00 00 00 00 00 00
		00 00 00 00 00 00 00 00  07 00 00 00 00 00 00 00  03 00 00 00  00 00 00 00
		06 00 73 65 63 72 65 74  06 00 72 6b 33 35 38 38`
	helloAckWire = `01 00 00 00  00 00 04 00  00 00 00 04 00 00 00 00  00 00 04 00 00 00 00 00  01 00 00 00 00 00 00 00
		05 00 00 00 00 00 00 00  01 00 00 00  e0 93 04 00  20 9d b4 2e  00 02 00 00  0c 00 00 00 00 00 00 00
		00 00`
)

func TestTheHandshakeIsTheseBytes(t *testing.T) {
	wire := goldenHello.Append(nil)
	wantBytes(t, wire, unhex(t, helloWire))
	hello, err := ParseHello(wire)
	if err != nil || !reflect.DeepEqual(hello, goldenHello) {
		t.Errorf("got %+v, %v", hello, err)
	}
	wire = goldenHelloAck.Append(nil)
	wantBytes(t, wire, unhex(t, helloAckWire))
	ack, err := ParseHelloAck(wire)
	if err != nil || ack.MaxDeadline != goldenHelloAck.MaxDeadline || !reflect.DeepEqual(ack, goldenHelloAck) {
		t.Errorf("got %+v, %v", ack, err)
	}
	if again, err := ParseHello(append(unhex(t, helloWire), "of a later version"...)); err != nil || !reflect.DeepEqual(again, goldenHello) {
		t.Errorf("a longer HELLO became %+v, %v", again, err)
	}
}

func TestAHandshakeCutAnywhereIsRefused(t *testing.T) {
	hello, ack := unhex(t, helloWire), unhex(t, helloAckWire)
	for n := range hello {
		_, err := ParseHello(hello[:n])
		wantReason(t, err, ReasonProtocol)
	}
	for n := range ack {
		_, err := ParseHelloAck(ack[:n])
		wantReason(t, err, ReasonProtocol)
	}
}

func TestNegotiation(t *testing.T) {
	server := goldenHelloAck
	server.Features, server.Codecs, server.Compressors = FeatureCRC|FeatureCompression, 5, 1
	for _, c := range []struct {
		name   string
		change func(*Hello)
		want   Reason
	}{
		{"both speak version 1", func(*Hello) {}, ReasonNone},
		{"a client of the next version that still speaks this one", func(h *Hello) { h.MaxVersion = 2 }, ReasonNone},
		{"a client that speaks later versions only", func(h *Hello) { h.MinVersion, h.MaxVersion = 2, 3 }, ReasonVersion},
		{"a client of version 0", func(h *Hello) { h.MinVersion, h.MaxVersion = 0, 0 }, ReasonVersion},
		{"a client that needs RDMA", func(h *Hello) { h.Features, h.Required = FeatureRDMA, FeatureRDMA }, ReasonFeature},
		{"a client that needs what is there", func(h *Hello) { h.Required = FeatureCRC }, ReasonNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			hello := goldenHello
			c.change(&hello)
			ack := Answer(&hello, server)
			if ack.Reason != c.want {
				t.Fatalf("answer is %+v, want reason %v", ack, c.want)
			}
			sent, err := ParseHelloAck(ack.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			if err = CheckAnswer(&hello, &sent); c.want != ReasonNone {
				wantReason(t, err, c.want)
				return
			}
			if err != nil || sent.Features != FeatureCRC&hello.Features || sent.Codecs != 5 || sent.Compressors != 1 || sent.Version != 1 {
				t.Errorf("agreed on %+v, %v", sent, err)
			}
		})
	}
}

func TestAClientRefusesWhatItDidNotOffer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*HelloAck)
		want   Reason
	}{
		"a version above":          {func(a *HelloAck) { a.Version = 2 }, ReasonVersion},
		"a feature it has not":     {func(a *HelloAck) { a.Features |= FeatureBlobs }, ReasonFeature},
		"a refusal":                {func(a *HelloAck) { a.Reason, a.Text = ReasonOverload, []byte("full") }, ReasonOverload},
		"a reason of tomorrow":     {func(a *HelloAck) { a.Reason = 4711 }, 4711},
		"a required one is absent": {func(a *HelloAck) { a.Features = 0 }, ReasonFeature},
	} {
		t.Run(name, func(t *testing.T) {
			hello, ack := goldenHello, goldenHelloAck
			hello.Required = FeatureCRC
			c.change(&ack)
			wantReason(t, CheckAnswer(&hello, &ack), c.want)
		})
	}
}

func TestImpossibleLimitsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Limits){
		"a frame of 1 KiB":      func(l *Limits) { l.MaxFrame = 1 << 10 },
		"a frame of 16 MiB + 1": func(l *Limits) { l.MaxFrame = LimitMaxFrame + 1 },
		"a message of nothing":  func(l *Limits) { l.MaxMessage = 0 },
		"a window of nothing":   func(l *Limits) { l.Window = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			hello, ack := goldenHello, goldenHelloAck
			change(&hello.Limits)
			change(&ack.Limits)
			_, err := ParseHello(hello.Append(nil))
			wantReason(t, err, ReasonProtocol)
			_, err = ParseHelloAck(ack.Append(nil))
			wantReason(t, err, ReasonProtocol)
		})
	}
	hello := goldenHello
	hello.MinVersion = 2
	_, err := ParseHello(hello.Append(nil))
	wantReason(t, err, ReasonProtocol)
}

func TestSmallBodiesAreTheseBytes(t *testing.T) {
	goAway := GoAway{Reason: ReasonIdle, Grace: time.Second, Text: "bye"}
	wire := goAway.Append(nil)
	wantBytes(t, wire, unhex(t, "02 00 00 00 e8 03 00 00 62 79 65"))
	if got, err := ParseGoAway(wire); err != nil || got != goAway {
		t.Errorf("%+v, %v", got, err)
	}
	failure := Failure{Code: 258, Execution: Executed, Retry: -time.Millisecond, Text: []byte("no"), Detail: []byte{9}}
	wire = failure.Append(nil)
	wantBytes(t, wire, unhex(t, "02 01 02 00 ff ff ff ff 02 00 6e 6f 09"))
	if got, err := ParseFailure(wire); err != nil || !reflect.DeepEqual(got, failure) {
		t.Errorf("%+v, %v", got, err)
	}
	wire = Credit(1 << 40).Append(nil)
	if got, err := ParseCredit(wire); err != nil || got != 1<<40 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWhatIsNeverToBeTriedAgainIsNotSaidToBeTriedAtOnce(t *testing.T) {
	for retry, want := range map[time.Duration]time.Duration{
		0: 0, -1: -time.Millisecond, time.Microsecond: time.Millisecond, 1500 * time.Microsecond: 2 * time.Millisecond,
		-time.Hour: -time.Hour, 100 * 24 * time.Hour: (1<<31 - 1) * time.Millisecond,
	} {
		if got, err := ParseFailure((&Failure{Retry: retry}).Append(nil)); err != nil || got.Retry != want {
			t.Errorf("%v became %v, %v; want %v", retry, got.Retry, err, want)
		}
	}
}

func TestBadSmallBodies(t *testing.T) {
	parse := map[string]func([]byte) error{
		"GOAWAY": func(b []byte) error { _, err := ParseGoAway(b); return err },
		"ERROR":  func(b []byte) error { _, err := ParseFailure(b); return err },
		"CREDIT": func(b []byte) error { _, err := ParseCredit(b); return err },
		"BIND":   CheckMethodName,
	}
	for _, c := range []struct{ what, name, body string }{
		{"GOAWAY", "too short", "02 00 00 00 e8 03 00"},
		{"GOAWAY", "text is not UTF-8", "02 00 00 00 e8 03 00 00 ff"},
		{"GOAWAY", "text of 1025 bytes", "02 00 00 00 e8 03 00 00" + strings.Repeat("61", 1025)},
		{"ERROR", "too short", "02 01 02 00 ff ff ff ff 02"},
		{"ERROR", "unknown execution", "02 01 03 00 ff ff ff ff 00 00"},
		{"ERROR", "text is cut off", "02 01 02 00 ff ff ff ff 02 00 6e"},
		{"ERROR", "text is not UTF-8", "02 01 02 00 ff ff ff ff 01 00 80"},
		{"CREDIT", "of four bytes", "00 00 10 00"},
		{"BIND", "no name", ""},
		{"BIND", "not UTF-8", "c3 28"},
		{"BIND", "513 bytes", strings.Repeat("61", 513)},
	} {
		t.Run(c.what+" "+c.name, func(t *testing.T) {
			wantReason(t, parse[c.what](unhex(t, c.body)), ReasonProtocol)
		})
	}
}

func TestALongTextIsCutBetweenCharacters(t *testing.T) {
	g := GoAway{Text: strings.Repeat("é", maxText)}
	got, err := ParseGoAway(g.Append(nil))
	if err != nil || len(got.Text) != maxText {
		t.Errorf("%d bytes, %v", len(got.Text), err)
	}
	g.Text = "a" + g.Text + "\xff"
	if got, err = ParseGoAway(g.Append(nil)); err != nil || len(got.Text) != maxText-1 {
		t.Errorf("%d bytes, %v", len(got.Text), err)
	}
}

func TestSniffing(t *testing.T) {
	tvmHello := tvm.AppendClientHello(nil, "rk3588", 0)
	for _, c := range []struct {
		name, first string
		want        Protocol
		sure        int // bytes
	}{
		{"a native client", Magic, ProtocolNative, 8},
		{"a TVM client", string(tvmHello), ProtocolTVM, 4},
		{"a gRPC client", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ProtocolHTTP2, 8},
		{"a TLS client", "\x16\x03\x01\x02\x00", ProtocolTLS, 2},
		{"a TVM tracker's peer", string(tvm.AppendTrackerMagic(nil)), ProtocolUnknown, 3},
		{"a browser", "GET / HTTP/1.1", ProtocolUnknown, 1},
		{"a proxy's word", "PROXY TCP4", ProtocolUnknown, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n := range len(c.first) + 1 {
				p, more := Sniff([]byte(c.first[:n]))
				if more != (n < c.sure) || !more && p != c.want || more && p != ProtocolUnknown {
					t.Errorf("after %d bytes: %v, more %v", n, p, more)
				}
			}
		})
	}
	if err := CheckMagic([]byte(Magic)); err != nil {
		t.Error(err)
	}
	wantReason(t, CheckMagic([]byte("HTTP/1.1")), ReasonProtocol)
}
