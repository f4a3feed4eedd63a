package frame

import (
	"errors"
	"testing"
	"time"
)

var goldenFrames = []struct {
	name      string
	h         Header
	ext, body string
	wire      string
}{
	{
		name: "a call of method 7 with five bytes of CBOR, 1.5 s left",
		h:    Header{Type: TypeCall, Priority: PriorityInteractive, Codec: 2, Seq: 0x0102030405060708, Ack: 9, Deadline: DeadlineOf(1500 * time.Millisecond)},
		ext:  "01 04 07 00 00 00 00 00", body: "68 65 6c 6c 6f",
		wire: `0d 00 00 00  04 00 09 01  08 07 06 05 04 03 02 01  09 00 00 00 00 00 00 00  60 e3 16 00  00 00 00 00
		       01 04 07 00 00 00 00 00  68 65 6c 6c 6f`,
	},
	{
		name: "a reply without a body",
		h:    Header{Type: TypeReply, Priority: PriorityNormal, Seq: 1},
		wire: `00 00 00 00  06 00 02 00  01 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  00 00 00 00  00 00 00 00`,
	},
	{
		name: "the same with a checksum",
		h:    Header{Type: TypeReply, Flags: FlagCRC, Priority: PriorityNormal, Seq: 1},
		wire: `00 00 00 00  06 04 02 00  01 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  00 00 00 00  9a 4f 96 39`,
	},
	{
		name: "a ping",
		h:    Header{Type: TypePing, Seq: 0xffffffffffffffff},
		wire: `00 00 00 00  0f 00 00 00  ff ff ff ff ff ff ff ff  00 00 00 00 00 00 00 00  00 00 00 00  00 00 00 00`,
	},
	{
		name: "a limit of the connection of 1 MiB",
		h:    Header{Type: TypeCredit},
		body: "00 00 10 00 00 00 00 00",
		wire: `08 00 00 00  0e 00 00 00  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  00 00 00 00  00 00 00 00
		       00 00 10 00 00 00 00 00`,
	},
}

func TestFramesAreTheseBytes(t *testing.T) {
	for _, c := range goldenFrames {
		t.Run(c.name, func(t *testing.T) {
			ext, body, wire := unhex(t, c.ext), unhex(t, c.body), unhex(t, c.wire)
			h := c.h
			if err := h.Check(); err != nil {
				t.Fatal(err)
			}
			wantBytes(t, Append(nil, &h, ext, body), wire)
			got, err := ParseHeader(wire, DefaultMaxFrame)
			if err != nil {
				t.Fatal(err)
			}
			if h.Flags&FlagCRC != 0 {
				if err := Verify(wire[:HeaderLen], ext, body); err != nil {
					t.Error(err)
				}
				h.CRC = got.CRC
			}
			if got != h || got.Len() != len(wire) {
				t.Errorf("got %+v, want %+v", got, h)
			}
		})
	}
}

func TestAHeaderThatMakesNoSenseIsRefusedByItself(t *testing.T) {
	call := unhex(t, goldenFrames[0].wire)
	for _, c := range []struct {
		name   string
		change map[int]byte // of the header of the first golden frame
		want   Reason
	}{
		{"type 0", map[int]byte{4: 0}, ReasonUnknownType},
		{"a type of later versions that is not optional", map[int]byte{4: 200}, ReasonUnknownType},
		{"extensions longer than the frame", map[int]byte{7: 2}, ReasonProtocol},
		{"a body of 16 MiB", map[int]byte{3: 1}, ReasonFrameSize},
		{"a body of 4 GiB", map[int]byte{0: 255, 1: 255, 2: 255, 3: 255}, ReasonFrameSize},
		{"a call with control priority", map[int]byte{6: 8}, ReasonProtocol},
		{"a call without a seq", map[int]byte{8: 0, 9: 0, 10: 0, 11: 0, 12: 0, 13: 0, 14: 0, 15: 0}, ReasonProtocol},
		{"an idempotent reply", map[int]byte{4: byte(TypeReply), 5: byte(FlagIdempotent)}, ReasonProtocol},
		{"a checksum without the flag", map[int]byte{28: 1}, ReasonProtocol},
		{"a ping with a body", map[int]byte{4: byte(TypePing), 6: 0}, ReasonFrameSize},
		{"a ping with a codec", map[int]byte{0: 8, 4: byte(TypePing)}, ReasonProtocol},
		{"a ping of bulk priority", map[int]byte{0: 8, 4: byte(TypePing), 6: 3}, ReasonProtocol},
		{"a credit that is too short", map[int]byte{4: byte(TypeCredit), 6: 0}, ReasonProtocol},
		{"an empty chunk", map[int]byte{0: 8, 4: byte(TypeChunk)}, ReasonProtocol},
		{"a one-way reply", map[int]byte{4: byte(TypeReply), 5: byte(FlagOneWay)}, ReasonProtocol},
		{"an error without a code", map[int]byte{4: byte(TypeError)}, ReasonProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := append([]byte(nil), call...)
			for i, v := range c.change {
				b[i] = v
			}
			_, err := ParseHeader(b, DefaultMaxFrame)
			wantReason(t, err, c.want)
		})
	}
}

func TestAnUnknownOptionalFrameIsSkipped(t *testing.T) {
	b := unhex(t, goldenFrames[0].wire)
	b[4], b[5] = 99, byte(FlagOptional)|0x80
	h, err := ParseHeader(b, DefaultMaxFrame)
	if err != nil || h.Type.Known() || h.Len() != len(b) {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestAChangedByteFailsTheChecksum(t *testing.T) {
	h := Header{Type: TypeCall, Flags: FlagCRC, Priority: PriorityNormal, Seq: 3}
	ext := (&Ext{Method: 1}).Append(nil)
	wire := Append(nil, &h, ext, []byte("body"))
	for i := range wire {
		wire[i] ^= 0x40
		err := Verify(wire[:HeaderLen], wire[HeaderLen:HeaderLen+len(ext)], wire[HeaderLen+len(ext):])
		wantReason(t, err, ReasonChecksum)
		wire[i] ^= 0x40
	}
}

func TestHeadersThatCannotBeSent(t *testing.T) {
	for name, h := range map[string]Header{
		"no type":                 {Priority: PriorityNormal, Seq: 1},
		"codec of seven bits":     {Type: TypeCall, Priority: PriorityNormal, Codec: 64, Seq: 1},
		"priority of three bits":  {Type: TypeCall, Priority: 4, Seq: 1},
		"a call that is control":  {Type: TypeCall, Seq: 1},
		"a cancel that is bulk":   {Type: TypeCancel, Priority: PriorityBulk, Seq: 1},
		"a reply to nothing":      {Type: TypeReply, Priority: PriorityNormal},
		"a chunk that is one-way": {Type: TypeChunk, Flags: FlagOneWay, Priority: PriorityBulk, Seq: 1},
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, h.Check(), ReasonProtocol) })
	}
}

func TestDeadlines(t *testing.T) {
	for _, c := range []struct{ d, want time.Duration }{
		{-time.Second, time.Microsecond},
		{0, time.Microsecond},
		{1999 * time.Nanosecond, time.Microsecond},
		{134217727 * time.Microsecond, 134217727 * time.Microsecond},
		{134217729 * time.Microsecond, 134217728 * time.Microsecond},
		{1<<63 - 1, 1<<63 - 1},
	} {
		got, ok := DeadlineOf(c.d).Duration()
		if !ok || got > max(c.want, 0) || float64(c.want-got) > float64(c.want)/1e7 {
			t.Errorf("%v became %v, want %v", c.d, got, c.want)
		}
	}
	if d, ok := Deadline(0).Duration(); ok || d != 0 {
		t.Errorf("no deadline is %v, %v", d, ok)
	}
	if d, _ := Deadline(1<<32 - 1).Duration(); d <= 0 {
		t.Errorf("the largest deadline is %v", d)
	}
}

func TestWordsOfTheWire(t *testing.T) {
	for got, want := range map[string]string{
		TypeInProgress.String():    "IN_PROGRESS",
		Type(77).String():          "TYPE_77",
		ReasonFlowControl.String(): "flow-control",
		Reason(99).String():        "reason-99",
		NotExecuted.String():       "NotExecuted",
		Execution(9).String():      "Execution?",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for typ := typeZero + 1; typ < types; typ++ {
		if shapes[typ].name == "" {
			t.Errorf("type %d has no shape", typ)
		}
	}
	for r := range reasons {
		if r.String() == "" {
			t.Errorf("reason %d has no word", r)
		}
	}
	err := errf(ReasonOverload, "too many of %d", 3)
	if !errors.Is(err, &Error{Reason: ReasonOverload}) || errors.Is(err, &Error{Reason: ReasonIdle}) {
		t.Error("an error is not known by its reason")
	}
}

func TestNothingIsAllocatedForAFrame(t *testing.T) {
	h := Header{Type: TypeCall, Priority: PriorityNormal, Seq: 1, Deadline: DeadlineOf(time.Second)}
	e := Ext{Method: 3}
	buf := make([]byte, 0, 256)
	body := make([]byte, 64)
	var ext [16]byte
	if n := testing.AllocsPerRun(100, func() {
		wire := Append(buf, &h, e.Append(ext[:0]), body)
		got, err := ParseHeader(wire, DefaultMaxFrame)
		if err != nil || got.BodyLen != 64 {
			t.Fatal(err)
		}
		if x, err := ParseExt(wire[HeaderLen : HeaderLen+got.ExtLen]); err != nil || x.Method != 3 {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWhatWasNotAgreedOnIsNotAllowed(t *testing.T) {
	for _, c := range []struct {
		name  string
		h     Header
		needs Features
	}{
		{"a call", Header{Type: TypeCall, Flags: FlagMore | FlagOneWay}, 0},
		{"a checksum", Header{Type: TypePing, Flags: FlagCRC}, 0},
		{"a compressed reply", Header{Type: TypeReply, Flags: FlagCompressed}, FeatureCompression},
		{"an item of a stream", Header{Type: TypeReply, Flags: FlagStream}, FeatureStreams},
		{"the end of a compressed stream", Header{Type: TypeReply, Flags: FlagEnd | FlagCompressed}, FeatureStreams | FeatureCompression},
		{"a blob", Header{Type: TypeBlobGrant}, FeatureBlobs},
	} {
		const all = FeatureCRC | FeatureStreams | FeatureCompression | FeatureBlobs
		if !c.needs.Allow(&c.h) || c.needs != 0 && (all&^c.needs).Allow(&c.h) {
			t.Errorf("%s does not need just %#x", c.name, c.needs)
		}
	}
	if (^Features(0)).Allow(&Header{Type: TypeBulkData}) {
		t.Error("bytes of a blob may be sent on a connection of calls")
	}
}

func TestTheLongestBodyOfAType(t *testing.T) {
	l := Limits{MaxFrame: 1 << 14, MaxMessage: 1 << 20}
	for typ, want := range map[Type]uint64{TypeCall: 1 << 20, TypeReply: 1 << 20, TypeError: 1 << 14, TypeBind: MaxMethodName, TypePing: 0, TypeBlobOffer: MaxControlBody} {
		if got := typ.MaxBody(&l); got != want {
			t.Errorf("%v: %d bytes, want %d", typ, got, want)
		}
	}
}
