package tvm

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGoldenHandshake(t *testing.T) {
	wire := unhex(t, `71 f2 0f 00 1b 00 00 00 63 6c 69 65 6e 74 3a 72 61 73 70 3a 30 2e 35
		20 2d 74 69 6d 65 6f 75 74 3d 31 30`)
	wantBytes(t, AppendClientHello(nil, "rasp:0.5", 10*time.Second), wire)
	n, err := HandshakeLen([8]byte(wire))
	if err != nil || n != len(wire)-HandshakeHeader {
		t.Fatalf("HandshakeLen: got %d, %v, want %d", n, err, len(wire)-HandshakeHeader)
	}
	got, err := ParseClientKey(wire[HandshakeHeader:])
	if err != nil {
		t.Fatal(err)
	}
	want := ClientHello{
		MatchKey: "rasp:0.5", Timeout: 10 * time.Second, HasTimeout: true,
		Raw: "client:rasp:0.5 -timeout=10",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hello differs (-want +got):\n%s", diff)
	}
}

func TestGoldenServerAnswers(t *testing.T) {
	accept := unhex(t, "71 f2 0f 00 0b 00 00 00 73 65 72 76 65 72 3a 72 61 73 70")
	wantBytes(t, AppendAccept(nil, "server:rasp"), accept)
	mismatch := unhex(t, "73 f2 0f 00")
	wantBytes(t, AppendMismatch(nil), mismatch)

	cases := []struct {
		name string
		wire []byte
		want ServerAnswer
		err  error
	}{
		{"success", accept, ServerAnswer{Code: HandshakeSuccess, ServerKey: "server:rasp"}, nil},
		{"mismatch", mismatch, ServerAnswer{Code: HandshakeMismatch}, ErrMismatch},
		{"duplicate", unhex(t, "72 f2 0f 00"), ServerAnswer{Code: HandshakeDuplicate}, ErrDuplicate},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			// What follows belongs to the session and must not be swallowed.
			got, n, err := ParseServerAnswer(append(c.wire[:len(c.wire):len(c.wire)], "session"...))
			if err != nil || n != len(c.wire) || got != c.want {
				t.Errorf("got %+v, %d, %v, want %+v, %d", got, n, err, c.want, len(c.wire))
			}
			if err := got.Err(); !errors.Is(err, c.err) {
				t.Errorf("Err is %v, want %v", err, c.err)
			}
		})
	}
}

// goldenPackets are packets of the session layer, length included. decodeOnly
// marks forms that peers send and we take, but for which we have a plainer one.
var goldenPackets = []struct {
	name       string
	flavours   []Flavour
	wire       string
	packet     Packet
	decodeOnly bool
}{
	{
		name: "init server", flavours: []Flavour{FlavourAuto, FlavourA, FlavourB, FlavourC},
		wire:   "15 00 00 00 00 00 00 00 02 00 00 00 05 00 00 00 00 00 00 00 30 2e 38 2e 30 00 00 00 00",
		packet: InitServer{Version: ProtocolVersion},
	},
	{
		name: "return null", flavours: []Flavour{FlavourA},
		wire:   "0c 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 04 00 00 00",
		packet: Return{Values: []Value{Null()}},
	},
	{
		name: "return null", flavours: []Flavour{FlavourB, FlavourC},
		wire:   "0c 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 00 00 00 00",
		packet: Return{Values: []Value{Null()}},
	},
	{
		name: "shutdown", flavours: []Flavour{FlavourAuto, FlavourA, FlavourB, FlavourC},
		wire:   "04 00 00 00 00 00 00 00 01 00 00 00",
		packet: Shutdown{},
	},
	{
		name: "exception", flavours: []Flavour{FlavourA},
		wire: `2d 00 00 00 00 00 00 00 05 00 00 00 01 00 00 00 0b 00 00 00 19 00 00 00 00 00 00 00
		       52 50 43 53 65 73 73 69 6f 6e 54 69 6d 65 6f 75 74 45 72 72 6f 72 3a 20 78`,
		packet: Exception{Text: SessionTimeoutPrefix + "x"},
	},
	{
		name: "exception", flavours: []Flavour{FlavourB, FlavourC},
		wire: `2d 00 00 00 00 00 00 00 05 00 00 00 01 00 00 00 08 00 00 00 19 00 00 00 00 00 00 00
		       52 50 43 53 65 73 73 69 6f 6e 54 69 6d 65 6f 75 74 45 72 72 6f 72 3a 20 78`,
		packet: Exception{Text: SessionTimeoutPrefix + "x"},
	},
	{
		name: "get global func", flavours: []Flavour{FlavourA},
		wire:   "17 00 00 00 00 00 00 00 09 00 00 00 01 00 00 00 0b 00 00 00 03 00 00 00 00 00 00 00 66 6f 6f",
		packet: Syscall{Code: RPCGetGlobalFunc, Args: []Value{Str("foo")}},
	},
	{
		name: "get global func", flavours: []Flavour{FlavourB, FlavourC},
		wire:   "17 00 00 00 00 00 00 00 09 00 00 00 01 00 00 00 08 00 00 00 03 00 00 00 00 00 00 00 66 6f 6f",
		packet: Syscall{Code: RPCGetGlobalFunc, Args: []Value{Str("foo")}},
	},
	{
		name: "get global func as a string object", flavours: []Flavour{FlavourC}, decodeOnly: true,
		wire:   "1b 00 00 00 00 00 00 00 09 00 00 00 01 00 00 00 41 00 00 00 41 00 00 00 03 00 00 00 00 00 00 00 66 6f 6f",
		packet: Syscall{Code: RPCGetGlobalFunc, Args: []Value{Str("foo")}},
	},
	{
		name: "call func", flavours: []Flavour{FlavourA},
		wire: `28 00 00 00 00 00 00 00 03 00 00 00 22 11 00 00 00 00 00 00 02 00 00 00 00 00 00 00 02 00 00 00
		       07 00 00 00 00 00 00 00 00 00 00 00 00 00 f8 3f`,
		packet: CallFunc{Handle: 0x1122, Args: []Value{Int(7), Float(1.5)}},
	},
	{
		name: "call func", flavours: []Flavour{FlavourB, FlavourC},
		wire: `28 00 00 00 00 00 00 00 03 00 00 00 22 11 00 00 00 00 00 00 02 00 00 00 01 00 00 00 07 00 00 00
		       00 00 00 00 03 00 00 00 00 00 00 00 00 00 f8 3f`,
		packet: CallFunc{Handle: 0x1122, Args: []Value{Int(7), Float(1.5)}},
	},
}

func TestGoldenPackets(t *testing.T) {
	for _, c := range goldenPackets {
		for _, f := range c.flavours {
			t.Run(c.name+"/"+f.String(), func(t *testing.T) {
				wire := unhex(t, c.wire)
				if !c.decodeOnly {
					got, err := AppendPacket([]byte("before"), f, c.packet)
					if err != nil {
						t.Fatal(err)
					}
					wantBytes(t, got, append([]byte("before"), wire...))
				}
				n, err := PacketLen([8]byte(wire), 1<<20)
				if err != nil || n != len(wire)-PacketHeader {
					t.Fatalf("PacketLen: got %d, %v, want %d", n, err, len(wire)-PacketHeader)
				}
				got, err := DecodePacket(f, wire[PacketHeader:])
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.packet, got); diff != "" {
					t.Errorf("packet differs (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestGoldenInjectedException(t *testing.T) {
	for _, c := range goldenPackets {
		e, ok := c.packet.(Exception)
		if !ok {
			continue
		}
		for _, f := range c.flavours {
			wantBytes(t, AppendException([]byte{1}, f, e.Text), append([]byte{1}, unhex(t, c.wire)...))
		}
		if c.flavours[0] == FlavourB {
			wantBytes(t, AppendException(nil, FlavourAuto, e.Text), unhex(t, c.wire))
		}
	}
}

func TestGoldenFlavours(t *testing.T) {
	want := map[Flavour]Flavour{FlavourA: FlavourA, FlavourB: FlavourC, FlavourC: FlavourC}
	for _, c := range goldenPackets {
		for _, f := range c.flavours {
			if f == FlavourAuto {
				continue
			}
			wire := unhex(t, c.wire)
			switch p := c.packet.(type) {
			case Return:
				if got, err := FlavourOfInitReply(wire); err != nil || got != want[f] {
					t.Errorf("answer of flavour %s: got %s, %v", f, got, err)
				}
			case Exception:
				got, err := FlavourOfInitReply(wire)
				if got != FlavourAuto {
					t.Errorf("exception of flavour %s: got %s", f, got)
				}
				wantErr(t, err, ErrInitRefused)
			case Syscall:
				got, ok := FlavourOfFirstCall(wire[PacketHeader:])
				if !ok || got != want[f] {
					t.Errorf("%s of flavour %s: got %s, %v", p.Code, f, got, ok)
				}
			}
		}
	}
}
