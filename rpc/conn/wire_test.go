package conn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// stranger speaks the wire by hand, as a client.
type stranger struct {
	t  testing.TB
	nc net.Conn
}

// shakeHands returns a stranger that a server has let in.
func shakeHands(t testing.TB, h Handler, opts Options) (stranger, *Conn) {
	t.Helper()
	a, b := sockets(t, "unix")
	accepted := make(chan *Conn, 1)
	go func() {
		s, err := Accept(t.Context(), b, admitAll, h, opts)
		if err != nil {
			t.Error(err)
		}
		accepted <- s
	}()
	s := stranger{t, a}
	hello := frame.Hello{MinVersion: 1, MaxVersion: 1, Limits: frame.Limits{MaxFrame: 1 << 18, MaxMessage: 1 << 20, Window: 1 << 18}}
	if err := writeHalf(a, frame.TypeHello, hello.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := readHalf(a, frame.TypeHelloAck); err != nil {
		t.Fatal(err)
	}
	c := <-accepted
	t.Cleanup(func() {
		_ = a.Close()
		_ = c.Close()
		<-c.Done()
	})
	return s, c
}

func (s stranger) send(h frame.Header, e frame.Ext, body []byte) {
	s.t.Helper()
	if _, err := s.nc.Write(frame.Append(nil, &h, e.Append(nil), body)); err != nil {
		s.t.Fatal(err)
	}
}

// next returns the next frame that is not CREDIT or PING.
func (s stranger) next() (wireFrame, error) {
	_ = s.nc.SetReadDeadline(time.Now().Add(patience))
	for {
		head := make([]byte, frame.HeaderLen)
		if _, err := io.ReadFull(s.nc, head); err != nil {
			return wireFrame{}, err
		}
		h, err := frame.ParseHeader(head, frame.LimitMaxFrame)
		if err != nil {
			return wireFrame{}, err
		}
		rest := make([]byte, h.ExtLen+h.BodyLen)
		if _, err := io.ReadFull(s.nc, rest); err != nil {
			return wireFrame{}, err
		}
		if h.Type != frame.TypeCredit && h.Type != frame.TypePing {
			return wireFrame{h, frame.Ext{}, rest[h.ExtLen:]}, nil
		}
	}
}

// TestWhoBreaksTheRulesIsToldWhy sends one thing that is wrong, behind a call
// that is right: the call is answered, the peer told the reason, the connection
// closed with the same one, and another connection of the same handler, with a
// message that is half there, not disturbed.
func TestWhoBreaksTheRulesIsToldWhy(t *testing.T) {
	call := frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 9}
	more := call
	more.Flags = frame.FlagMore
	chunk := frame.Header{Type: frame.TypeChunk, Priority: 2, Seq: 9}
	long := frame.Ext{MessageLen: 20}
	garbage := bytes.Repeat([]byte{0xee}, 64)
	for _, c := range []struct {
		name string
		want frame.Reason
		do   func(s stranger)
	}{
		{"garbage", frame.ReasonFrameSize, func(s stranger) { _, _ = s.nc.Write(garbage) }},
		{"an unknown type", frame.ReasonUnknownType, func(s stranger) { s.send(frame.Header{Type: 99}, frame.Ext{}, nil) }},
		{"a second HELLO", frame.ReasonProtocol, func(s stranger) {
			h := frame.Hello{MaxVersion: 1}
			s.send(frame.Header{Type: frame.TypeHello}, frame.Ext{}, h.Append(nil))
		}},
		{"a chunk of nothing", frame.ReasonProtocol, func(s stranger) { s.send(chunk, frame.Ext{}, []byte("x")) }},
		{"a first frame within a message", frame.ReasonProtocol, func(s stranger) {
			s.send(more, long, []byte("x"))
			s.send(more, long, []byte("x"))
		}},
		{"more than was announced", frame.ReasonProtocol, func(s stranger) {
			s.send(more, long, []byte("x"))
			s.send(chunk, frame.Ext{}, garbage)
		}},
		{"less than was announced", frame.ReasonProtocol, func(s stranger) {
			s.send(more, long, []byte("x"))
			s.send(chunk, frame.Ext{}, []byte("x"))
		}},
		{"a message that goes on after its end", frame.ReasonProtocol, func(s stranger) { s.send(more, frame.Ext{MessageLen: 1}, []byte("x")) }},
		{"a message of 4 GiB and 1", frame.ReasonMessageSize, func(s stranger) { s.send(more, frame.Ext{MessageLen: 4<<30 + 1}, []byte("x")) }},
		{"a wrong checksum", frame.ReasonChecksum, func(s stranger) {
			h := call
			h.Flags = frame.FlagCRC
			wire := frame.Append(nil, &h, nil, []byte("body"))
			wire[len(wire)-1]++
			_, _ = s.nc.Write(wire)
		}},
		{"a wrong checksum of a long body", frame.ReasonChecksum, func(s stranger) {
			h := call
			h.Flags = frame.FlagCRC
			wire := frame.Append(nil, &h, nil, make([]byte, 100<<10))
			wire[len(wire)-1]++
			_, _ = s.nc.Write(wire)
		}},
		{"bad extensions", frame.ReasonProtocol, func(s stranger) {
			_, _ = s.nc.Write(frame.Append(nil, &frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 9}, make([]byte, 8), nil))
		}},
		{"a GOAWAY that is not UTF-8", frame.ReasonProtocol, func(s stranger) {
			s.send(frame.Header{Type: frame.TypeGoAway}, frame.Ext{}, bytes.Repeat([]byte{0xff}, 9))
		}},
		{"a second HELLO_ACK", frame.ReasonProtocol, func(s stranger) {
			a := frame.HelloAck{Version: 1}
			s.send(frame.Header{Type: frame.TypeHelloAck}, frame.Ext{}, a.Append(nil))
		}},
		{"a header of 4 GiB", frame.ReasonFrameSize, func(s stranger) {
			_, _ = s.nc.Write(append([]byte{255, 255, 255, 255, 4, 0, 2, 0, 9}, make([]byte, 23)...))
		}},
		{"a CREDIT of another length", frame.ReasonProtocol, func(s stranger) {
			s.send(frame.Header{Type: frame.TypeCredit}, frame.Ext{}, make([]byte, 7))
		}},
		{"an unknown extension that is critical", frame.ReasonUnknownExt, func(s stranger) {
			_, _ = s.nc.Write(frame.Append(nil, &call, []byte{0x80, 1, 5, 0, 0, 0, 0, 0}, nil))
		}},
		{"a priority that is none", frame.ReasonProtocol, func(s stranger) { s.send(frame.Header{Type: frame.TypeCall, Seq: 9}, frame.Ext{}, nil) }},
		{"a FENCE with half a number", frame.ReasonProtocol, func(s stranger) {
			s.send(frame.Header{Type: frame.TypeFence}, frame.Ext{}, make([]byte, 20))
		}},
		{"an OPEN of no session", frame.ReasonProtocol, func(s stranger) {
			s.send(frame.Header{Type: frame.TypeOpen}, frame.Ext{}, make([]byte, 88))
		}},
		{"a WELCOME of a status that is none", frame.ReasonProtocol, func(s stranger) {
			s.send(frame.Header{Type: frame.TypeWelcome}, frame.Ext{}, append([]byte{9}, make([]byte, 55)...))
		}},
		{"an ERROR with an execution that is none", frame.ReasonProtocol, func(s stranger) {
			s.send(frame.Header{Type: frame.TypeError, Priority: 2, Seq: 9}, frame.Ext{}, []byte{1, 0, 3, 0, 0, 0, 0, 0, 0, 0})
		}},
		{"a compressed message that was not agreed on", frame.ReasonFeature, func(s stranger) {
			s.send(frame.Header{Type: frame.TypeCall, Flags: frame.FlagCompressed, Priority: 2, Seq: 9}, frame.Ext{PlainLen: 1 << 60}, []byte("x"))
		}},
		{"a stream that was not agreed on", frame.ReasonFeature, func(s stranger) {
			s.send(frame.Header{Type: frame.TypeCall, Flags: frame.FlagStream, Priority: 2, Seq: 9}, frame.Ext{}, []byte("x"))
		}},
		{"bytes of a blob on a connection for calls", frame.ReasonFeature, func(s stranger) { s.send(frame.Header{Type: frame.TypeBulkData, Seq: 1}, frame.Ext{}, []byte{1}) }},
		{"a method without a name", frame.ReasonProtocol, func(s stranger) {
			s.send(frame.Header{Type: frame.TypeBind, Seq: 1}, frame.Ext{}, []byte{0xff})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			closed := make(chan error, 2)
			h := &echo{closed: closed}
			s, _ := shakeHands(t, h, Options{Linger: 50 * time.Millisecond})
			other, _ := shakeHands(t, h, Options{})
			other.send(more, long, []byte("a half"))
			s.send(frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1}, frame.Ext{}, []byte("hello"))
			c.do(s)
			if f, err := s.next(); err != nil || f.Type != frame.TypeReply || string(f.body) != "hello" {
				t.Fatalf("the call is answered with %+v, %v", f, err)
			}
			f, err := s.next()
			if err != nil || f.Type != frame.TypeGoAway {
				t.Fatalf("got %+v, %v, want GOAWAY", f, err)
			}
			if f.Seq == 0 {
				t.Error("GOAWAY says that no call has run")
			}
			if g, err := frame.ParseGoAway(f.body); err != nil || g.Reason != c.want || g.Text == "" {
				t.Errorf("told %+v, %v, want reason %v", g, err, c.want)
			}
			if _, err := s.next(); !errors.Is(err, io.EOF) {
				t.Errorf("after GOAWAY: %v", err)
			}
			_ = s.nc.Close()
			if err := <-closed; !errors.Is(err, &frame.Error{Reason: c.want}) {
				t.Errorf("closed with %v, want reason %v", err, c.want)
			}
			other.send(chunk, frame.Ext{}, []byte("and the other "))
			if f, err := other.next(); err != nil || string(f.body) != "a halfand the other " {
				t.Errorf("another connection is disturbed: %+v, %v", f, err)
			}
		})
	}
}

func TestWhoSendsBeyondTheWindowIsClosed(t *testing.T) {
	closed := make(chan error, 1)
	h := &keeping{closed: closed}
	s, _ := shakeHands(t, h, Options{Linger: 50 * time.Millisecond, Window: frame.MessageAllowance})
	go func() {
		for i := range uint64(300) {
			_, _ = s.nc.Write(frame.Append(nil, &frame.Header{Type: frame.TypeCall, Priority: 2, Seq: i + 1}, nil, make([]byte, 1000)))
		}
	}()
	if f, err := s.next(); err != nil || f.Type != frame.TypeGoAway {
		t.Fatalf("got %+v, %v", f, err)
	}
	_ = s.nc.Close()
	if err := <-closed; !errors.Is(err, &frame.Error{Reason: frame.ReasonFlowControl}) {
		t.Errorf("closed with %v", err)
	}
	for _, in := range h.kept {
		in.Release()
	}
}

// TestAMessageBeyondItsAllowanceIsClosed: a message that has no room yet has only
// its allowance, whatever the peer sends.
func TestAMessageBeyondItsAllowanceIsClosed(t *testing.T) {
	closed := make(chan error, 1)
	opts := Options{MaxMessage: 1 << 20, MaxAssembly: 1 << 20, Window: 1 << 20, Linger: 50 * time.Millisecond}
	s, _ := shakeHands(t, &echo{closed: closed}, opts)
	long := frame.Ext{MessageLen: 1 << 20}
	for seq := range uint64(2) { // the first one has all the room
		s.send(frame.Header{Type: frame.TypeCall, Flags: frame.FlagMore, Priority: 2, Seq: seq + 1}, long, []byte("x"))
	}
	chunk := frame.Header{Type: frame.TypeChunk, Flags: frame.FlagMore, Priority: 2, Seq: 2}
	s.send(chunk, frame.Ext{}, make([]byte, frame.MessageAllowance-1))
	s.send(frame.Header{Type: frame.TypePing, Seq: 5}, frame.Ext{}, nil)
	if f, err := s.next(); err != nil || f.Type != frame.TypePong {
		t.Fatalf("with all that is allowed, got %+v, %v", f, err)
	}
	s.send(chunk, frame.Ext{}, []byte("x"))
	if f, err := s.next(); err != nil || f.Type != frame.TypeGoAway {
		t.Fatalf("got %+v, %v", f, err)
	}
	_ = s.nc.Close()
	if err := <-closed; !errors.Is(err, &frame.Error{Reason: frame.ReasonFlowControl}) {
		t.Errorf("closed with %v", err)
	}
}

// keeping keeps everything.
type keeping struct {
	kept   []*In
	closed chan error
}

func (k *keeping) Message(_ Peer, in *In)               { k.kept = append(k.kept, in.Keep()) }
func (k *keeping) Closed(_ Peer, err error, _ []uint64) { k.closed <- err }

func TestUnknownOptionalFramesAreSkipped(t *testing.T) {
	s, _ := shakeHands(t, &echo{}, Options{})
	for _, size := range []int{0, 10, 100 << 10} {
		s.send(frame.Header{Type: 200, Flags: frame.FlagOptional | 0x80}, frame.Ext{}, make([]byte, size))
	}
	s.send(frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1}, frame.Ext{}, []byte("hello"))
	if f, err := s.next(); err != nil || f.Type != frame.TypeReply || string(f.body) != "hello" {
		t.Errorf("got %+v, %v", f, err)
	}
}

// TestACancelledMessageIsDropped cancels a long message that is half there, and
// has another one end in an error.
func TestACancelledMessageIsDropped(t *testing.T) {
	s, c := shakeHands(t, &echo{}, Options{})
	s.send(frame.Header{Type: frame.TypeCall, Flags: frame.FlagMore, Priority: 2, Seq: 1}, frame.Ext{MessageLen: 1 << 20}, make([]byte, 100))
	s.send(frame.Header{Type: frame.TypeCancel, Seq: 1}, frame.Ext{}, nil)
	s.send(frame.Header{Type: frame.TypeReply, Flags: frame.FlagMore, Priority: 2, Seq: 2}, frame.Ext{MessageLen: 1 << 20}, make([]byte, 100))
	s.send(frame.Header{Type: frame.TypeError, Priority: 2, Seq: 2}, frame.Ext{}, make([]byte, 10))
	s.send(frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1}, frame.Ext{}, []byte("again"))
	if f, err := s.next(); err != nil || f.Type != frame.TypeReply || string(f.body) != "again" {
		t.Errorf("got %+v, %v", f, err)
	}
	c.rx.mu.Lock()
	defer c.rx.mu.Unlock()
	if c.rx.room != c.opts.MaxAssembly {
		t.Errorf("room has leaked: %d bytes are left", c.rx.room)
	}
}

func TestBytesInAnyPieces(t *testing.T) {
	s, _ := shakeHands(t, &echo{}, Options{})
	var wire []byte
	for i := range uint64(3) {
		wire = frame.Append(wire, &frame.Header{Type: frame.TypeCall, Priority: 2, Seq: i + 1}, nil, bytes.Repeat([]byte{byte(i)}, int(i)*5000))
	}
	for step := 1; step < len(wire); step += 1 + step*2 {
		go func() {
			for p := wire; len(p) > 0; p = p[min(step, len(p)):] {
				_, _ = s.nc.Write(p[:min(step, len(p))])
			}
		}()
		for i := range 3 {
			if f, err := s.next(); err != nil || f.Seq != uint64(i+1) || len(f.body) != i*5000 {
				t.Fatalf("in pieces of %d bytes, got %v %d with %d bytes, %v", step, f.Type, f.Seq, len(f.body), err)
			}
		}
	}
}

func TestHandshakesThatFail(t *testing.T) {
	hello := frame.Hello{MinVersion: 1, MaxVersion: 1, Limits: frame.Limits{MaxFrame: 1 << 18, MaxMessage: 1 << 20, Window: 1 << 18}}
	old := hello
	old.MinVersion, old.MaxVersion = 7, 9
	half := func(body []byte) []byte {
		return frame.Append([]byte(frame.Magic), &frame.Header{Type: frame.TypeHello}, nil, body)
	}
	for _, c := range []struct {
		name   string
		first  []byte
		server frame.Reason // in its error; none: it just ended
		told   frame.Reason // to the client; none: nothing
	}{
		{"another protocol", []byte("GET / HTTP/1.1\r\n\r\n12345678901234567890123456"), frame.ReasonProtocol, frame.ReasonProtocol},
		{"a TVM client", []byte("\x71\xf2\x0f\x00\x0a\x00\x00\x00client:abc1234567890123456789012345"), frame.ReasonProtocol, frame.ReasonProtocol},
		{"versions of the future", half(old.Append(nil)), frame.ReasonVersion, frame.ReasonVersion},
		{"a HELLO that is cut off", half(hello.Append(nil)[:58]), frame.ReasonProtocol, frame.ReasonProtocol},
		{"a call instead of HELLO", frame.Append([]byte(frame.Magic), &frame.Header{Type: frame.TypeCall, Priority: 1, Seq: 1}, nil, nil), frame.ReasonProtocol, frame.ReasonProtocol},
		{"a HELLO of 4 GiB", append([]byte(frame.Magic), bytes.Repeat([]byte{255}, 32)...), frame.ReasonProtocol, frame.ReasonProtocol},
		{"nothing for the whole time", nil, frame.ReasonNone, frame.ReasonNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := sockets(t, "unix")
			defer a.Close()
			failed := make(chan error, 1)
			go func() {
				_, err := Accept(t.Context(), b, admitAll, &echo{}, Options{Handshake: 30 * time.Millisecond})
				failed <- err
			}()
			_, _ = a.Write(c.first)
			err := <-failed
			var bad *frame.Error
			if errors.As(err, &bad) != (c.server != frame.ReasonNone) || bad != nil && bad.Reason != c.server && bad.Reason != frame.ReasonFrameSize && bad.Reason != frame.ReasonUnknownType {
				t.Errorf("server fails with %v, want reason %v", err, c.server)
			}
			if c.told == frame.ReasonNone {
				return
			}
			body, err := readHalf(a, frame.TypeHelloAck)
			if err != nil {
				t.Fatalf("the client is told nothing: %v", err)
			}
			if ack, err := frame.ParseHelloAck(body); err != nil || ack.Reason == frame.ReasonNone {
				t.Errorf("the client is told %+v, %v", ack, err)
			}
		})
	}
}

func TestARefusedClientKnowsWhy(t *testing.T) {
	a, b := sockets(t, "unix")
	go func() {
		_, _ = Accept(t.Context(), b, func(*frame.Hello) frame.HelloAck {
			return frame.HelloAck{Reason: frame.ReasonUnauthorised, Text: []byte("wrong token")}
		}, &echo{}, Options{})
	}()
	_, err := Connect(t.Context(), a, frame.Hello{Token: []byte("x")}, &echo{}, Options{})
	if !errors.Is(err, &frame.Error{Reason: frame.ReasonUnauthorised}) || !bytes.Contains([]byte(err.Error()), []byte("wrong token")) {
		t.Errorf("error is %v", err)
	}
}

// TestGoAway is the race of GOAWAY and new calls: a call that had arrived runs,
// later ones do not, and an earlier one that comes late does.
func TestGoAway(t *testing.T) {
	h := &keeping{closed: make(chan error, 1)}
	s, c := shakeHands(t, h, Options{})
	for _, seq := range []uint64{5, 0} { // the ping's answer tells that the call is there
		h := frame.Header{Type: frame.TypePing, Seq: 77}
		if seq > 0 {
			h = frame.Header{Type: frame.TypeCall, Priority: 2, Seq: seq}
		}
		s.send(h, frame.Ext{}, nil)
	}
	if f, err := s.next(); err != nil || f.Type != frame.TypePong || f.Seq != 77 {
		t.Fatalf("got %+v, %v", f, err)
	}
	gone := make(chan error, 1)
	go func() {
		gone <- c.GoAway(t.Context(), frame.GoAway{Reason: frame.ReasonShutdown, Grace: patience})
	}()
	f, err := s.next()
	if err != nil || f.Type != frame.TypeGoAway || f.Seq != 5 {
		t.Fatalf("got %+v, %v", f, err)
	}
	for _, seq := range []uint64{6, 4, 7} {
		s.send(frame.Header{Type: frame.TypeCall, Priority: 2, Seq: seq}, frame.Ext{}, nil)
	}
	_ = s.nc.Close()
	if err := <-gone; err != nil {
		t.Error(err)
	}
	<-h.closed
	var ran []uint64
	for _, in := range h.kept {
		ran = append(ran, in.Seq)
		in.Release()
	}
	if len(ran) != 2 || ran[0] != 5 || ran[1] != 4 {
		t.Errorf("calls %v have run, want 5 and 4", ran)
	}
}

// TestWhatIsQueuedIsSaidBeforeAGoAwayWithoutGraceEnds: the socket is full, and somebody writes.
func TestWhatIsQueuedIsSaidBeforeAGoAwayWithoutGraceEnds(t *testing.T) {
	s, c := shakeHands(t, &keeping{closed: make(chan error, 1)}, Options{Linger: patience})
	name := bytes.Repeat([]byte{'x'}, frame.MaxMethodName)
	for range 3 * unixBuffer / 2 / len(name) {
		if err := c.TrySend(&Message{Header: frame.Header{Type: frame.TypeBind, Seq: 1}, Body: name}); err != nil {
			t.Fatal(err)
		}
	}
	gone := make(chan error, 1)
	go func() { gone <- c.GoAway(t.Context(), frame.GoAway{Reason: frame.ReasonSession}) }()
	for {
		f, err := s.next()
		if err != nil {
			t.Fatalf("before GOAWAY: %v", err)
		}
		if f.Type == frame.TypeGoAway {
			break
		}
	}
	if err := <-gone; err != nil {
		t.Error(err)
	}
}
