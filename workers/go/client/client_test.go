package client_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute // for everything that must happen

// peer is the server's end of a connection that a test plays.
type peer struct {
	*testing.T
	net.Conn
	flavour tvm.Flavour
}

// listen plays a server: each connection is played by the next of plays. It
// returns the address and how many connections came.
func listen(t *testing.T, plays ...func(p peer)) (addr string, count *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	count = new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, play := range plays {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			_ = conn.SetDeadline(time.Now().Add(patience))
			play(peer{t, conn, tvm.FlavourC})
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String(), count
}

// hello reads the client's greeting.
func (p peer) hello() tvm.ClientHello {
	p.Helper()
	var head [tvm.HandshakeHeader]byte
	if _, err := io.ReadFull(p, head[:]); err != nil {
		p.Error(err)
		return tvm.ClientHello{}
	}
	n, err := tvm.HandshakeLen(head)
	if err != nil {
		p.Error(err)
		return tvm.ClientHello{}
	}
	key := make([]byte, n)
	if _, err := io.ReadFull(p, key); err != nil {
		p.Error(err)
	}
	hello, err := tvm.ParseClientKey(key)
	if err != nil {
		p.Error(err)
	}
	return hello
}

func (p peer) accept() { _, _ = p.Write(tvm.AppendAccept(nil, "k")) }

// next reads a request; nil if the client is gone.
func (p peer) next() tvm.Packet {
	p.Helper()
	var head [tvm.PacketHeader]byte
	if _, err := io.ReadFull(p, head[:]); err != nil {
		return nil
	}
	body := make([]byte, binary.LittleEndian.Uint64(head[:]))
	if _, err := io.ReadFull(p, body); err != nil {
		return nil
	}
	packet, err := tvm.DecodePacket(p.flavour, body)
	if err != nil {
		p.Error(err)
	}
	return packet
}

func (p peer) reply(packet tvm.Packet) {
	p.Helper()
	b, err := tvm.AppendPacket(nil, p.flavour, packet)
	if err != nil {
		p.Error(err)
	}
	_, _ = p.Write(b)
}

// begin plays the start of a session.
func (p peer) begin() {
	p.Helper()
	p.hello()
	p.accept()
	p.next()
	p.reply(tvm.Return{Values: []tvm.Value{tvm.Null()}})
}

// found plays the answer to a look-up.
func (p peer) found() {
	p.Helper()
	p.next()
	p.reply(tvm.Return{Values: []tvm.Value{tvm.Handle(128)}})
}

func dial(t *testing.T, addr string, o client.Options) (*client.Session, error) {
	t.Helper()
	s, err := client.Dial(t.Context(), addr, "k:1", o)
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func mustDial(t *testing.T, plays ...func(p peer)) *client.Session {
	t.Helper()
	addr, _ := listen(t, plays...)
	s, err := dial(t, addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDialSendsWhatStockClientsSend(t *testing.T) {
	sent := make(chan []byte, 1)
	addr, _ := listen(t, func(p peer) {
		got := make([]byte, 8+27)
		_, _ = io.ReadFull(p, got)
		p.accept()
		more := make([]byte, 29)
		_, _ = io.ReadFull(p, more)
		got = append(got, more...)
		p.reply(tvm.Return{Values: []tvm.Value{tvm.Null()}})
		end, _ := io.ReadAll(p)
		sent <- append(got, end...)
	})
	s, err := client.Dial(t.Context(), addr, "rasp:0.5", client.Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if s.Server() != addr || s.Flavour() != tvm.FlavourC {
		t.Errorf("session on %s in flavour %s", s.Server(), s.Flavour())
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	want := []byte("\x71\xf2\x0f\x00\x1b\x00\x00\x00client:rasp:0.5 -timeout=10" +
		"\x15\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x000.8.0\x00\x00\x00\x00" +
		"\x04\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00")
	if got := <-sent; !bytes.Equal(got, want) {
		t.Errorf("client sent\n%q, want\n%q", got, want)
	}
}

func TestDialFails(t *testing.T) {
	cases := []struct {
		name string
		play func(p peer)
		is   error
		text string
	}{
		{"mismatch", func(p peer) { p.hello(); _, _ = p.Write(tvm.AppendMismatch(nil)) }, client.ErrMismatch, "handshake"},
		{"duplicate", func(p peer) { p.hello(); _, _ = p.Write([]byte{0x72, 0xf2, 0x0f, 0}) }, tvm.ErrDuplicate, ""},
		{"not a TVM server", func(p peer) { p.hello(); _, _ = p.Write([]byte("HTTP/1.1 400 Bad Request\r\n")) }, tvm.ErrBadMagic, ""},
		{"closed in the handshake", func(p peer) { p.hello(); _, _ = p.Write([]byte{0x71, 0xf2}) }, client.ErrSessionLost, ""},
		{"closed before kInitServer is answered", func(p peer) { p.hello(); p.accept(); p.next() }, client.ErrSessionLost, "start session"},
		{"refused in flavour C", func(p peer) {
			p.hello()
			p.accept()
			p.next()
			p.reply(tvm.Exception{Text: "device is unhealthy"})
		}, nil, "remote: device is unhealthy"},
		{"refused in flavour A", func(p peer) {
			p.hello()
			p.accept()
			p.next()
			_, _ = p.Write(tvm.AppendException(nil, tvm.FlavourA, tvm.SessionTimeoutPrefix+"too late"))
		}, client.ErrSessionTimeout, "too late"},
		{"an answer that is none", func(p peer) { p.hello(); p.accept(); p.next(); p.reply(tvm.Return{}) }, client.ErrProtocol, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			addr, _ := listen(t, c.play)
			_, err := dial(t, addr, client.Options{})
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), addr) {
				t.Errorf("got %v, want %v with %q and the address", err, c.is, c.text)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		if _, err := dial(t, addr, client.Options{}); err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("got %v, want an error with the address", err)
		}
	})
	t.Run("a server that is silent", func(t *testing.T) {
		addr, _ := listen(t, func(p peer) { _, _ = io.Copy(io.Discard, p) })
		if _, err := dial(t, addr, client.Options{DialTimeout: 20 * time.Millisecond}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the dial timeout", err)
		}
	})
	t.Run("a worker that is silent", func(t *testing.T) {
		addr, _ := listen(t, func(p peer) { p.hello(); p.accept(); _, _ = io.Copy(io.Discard, p) })
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := client.Dial(ctx, addr, "k:1", client.Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the cancelled context", err)
		}
	})
}

func TestFlavourIsLearntFromTheFirstAnswer(t *testing.T) {
	begin := func(f tvm.Flavour) func(p peer) {
		return func(p peer) {
			p.flavour = f
			p.begin()
			_, _ = io.Copy(io.Discard, p)
		}
	}
	cases := []struct{ want, server, got tvm.Flavour }{
		{tvm.FlavourAuto, tvm.FlavourA, tvm.FlavourA},
		{tvm.FlavourAuto, tvm.FlavourC, tvm.FlavourC},
		{tvm.FlavourA, tvm.FlavourA, tvm.FlavourA},
		{tvm.FlavourB, tvm.FlavourB, tvm.FlavourB},
		{tvm.FlavourC, tvm.FlavourC, tvm.FlavourC},
		{tvm.FlavourA, tvm.FlavourC, tvm.FlavourAuto},
		{tvm.FlavourC, tvm.FlavourA, tvm.FlavourAuto},
	}
	for _, c := range cases {
		t.Run("client "+c.want.String()+" server "+c.server.String(), func(t *testing.T) {
			addr, _ := listen(t, begin(c.server))
			s, err := dial(t, addr, client.Options{Flavour: c.want})
			switch {
			case c.got == tvm.FlavourAuto && !errors.Is(err, client.ErrProtocol):
				t.Errorf("got %v, want a protocol error", err)
			case c.got != tvm.FlavourAuto && (err != nil || s.Flavour() != c.got):
				t.Errorf("got %v, want flavour %s", err, c.got)
			}
		})
	}
}

func TestCallThatLosesItsSession(t *testing.T) {
	cases := []struct {
		name string
		play func(p peer)
	}{
		{"EOF", func(p peer) { p.next() }},
		{"EOF in the reply", func(p peer) { p.next(); _, _ = p.Write([]byte{40, 0, 0, 0, 0, 0, 0, 0, 4}) }},
		{"EOF in the reply's length", func(p peer) { p.next(); _, _ = p.Write([]byte{40, 0}) }},
		{"reset", func(p peer) { p.next(); _ = p.Conn.(*net.TCPConn).SetLinger(0) }},
		{"kShutdown", func(p peer) { p.next(); p.reply(tvm.Shutdown{}); _, _ = io.Copy(io.Discard, p) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := mustDial(t, func(p peer) { p.begin(); p.found(); c.play(p) })
			if _, err := s.Call(t.Context(), "f"); !errors.Is(err, client.ErrSessionLost) {
				t.Errorf("got %v, want a lost session", err)
			}
			if _, err := s.Call(t.Context(), "f"); !errors.Is(err, client.ErrSessionLost) {
				t.Errorf("the call after: got %v, want a lost session", err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func TestRepliesThatAreNone(t *testing.T) {
	cases := []struct {
		name string
		play func(p peer)
	}{
		{"a request", func(p peer) { p.reply(tvm.CallFunc{Handle: 1}) }},
		{"a copy", func(p peer) { p.reply(tvm.CopyAck{Data: []byte{1}}) }},
		{"a result without a type code", func(p peer) { p.reply(tvm.Return{Values: []tvm.Value{tvm.Int(1)}}) }},
		{"a huge packet", func(p peer) { _, _ = p.Write(bytes.Repeat([]byte{255}, 100)) }},
		{"values of no type", func(p peer) {
			_, _ = p.Write([]byte("\x0c\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x7f\x7f\x7f\x7f"))
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := mustDial(t, func(p peer) { p.begin(); p.found(); p.next(); c.play(p); _, _ = io.Copy(io.Discard, p) })
			if _, err := s.Call(t.Context(), "f"); !errors.Is(err, client.ErrProtocol) {
				t.Errorf("got %v, want a protocol error", err)
			}
		})
	}
}

func TestExceptionOfACallLeavesTheSession(t *testing.T) {
	s := mustDial(t, func(p peer) {
		p.begin()
		p.found()
		p.next()
		p.reply(tvm.Exception{Text: "no such tile"})
		p.next()
		_, _ = p.Write(make([]byte, 8)) // an empty packet counts for nothing
		p.reply(tvm.Return{Values: []tvm.Value{tvm.Int(1), tvm.Int(42)}})
		_, _ = io.Copy(io.Discard, p)
	})
	var remote *client.RemoteError
	_, err := s.Call(t.Context(), "f")
	if !errors.As(err, &remote) || remote.Text != "no such tile" || errors.Is(err, client.ErrSessionTimeout) {
		t.Errorf("got %v, want the exception", err)
	}
	if got, err := s.Call(t.Context(), "f"); err != nil || got != int64(42) {
		t.Errorf("the call after: %v, %v", got, err)
	}
}

// TestTimeoutIsTold by a supervisor, which writes its exception whether or not a
// call is outstanding, and closes.
func TestTimeoutIsTold(t *testing.T) {
	exception := tvm.AppendException(nil, tvm.FlavourC, tvm.SessionTimeoutPrefix+"10s are over")
	t.Run("during a call", func(t *testing.T) {
		s := mustDial(t, func(p peer) { p.begin(); p.found(); p.next(); _, _ = p.Write(exception) })
		if _, err := s.Call(t.Context(), "f"); !errors.Is(err, client.ErrSessionTimeout) {
			t.Errorf("got %v, want a session timeout", err)
		}
		if _, err := s.Call(t.Context(), "f"); !errors.Is(err, client.ErrSessionLost) {
			t.Errorf("the call after: got %v, want a lost session", err)
		}
	})
	t.Run("between calls", func(t *testing.T) {
		told := make(chan struct{})
		s := mustDial(t, func(p peer) {
			p.begin()
			p.found()
			_, _ = p.Write(exception)
			p.Close() // with unread data: the client's write is answered by a reset
			close(told)
		})
		f, err := s.Func(t.Context(), "f")
		if err != nil {
			t.Fatal(err)
		}
		<-told
		if _, err := f.Call(t.Context(), make([]byte, 4<<20)); !errors.Is(err, client.ErrSessionTimeout) {
			t.Errorf("got %v, want a session timeout", err)
		}
	})
}

func TestCancelledCall(t *testing.T) {
	s := mustDial(t, func(p peer) { p.begin(); p.found(); p.next(); _, _ = io.Copy(io.Discard, p) })
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Func(done, "f"); !errors.Is(err, context.Canceled) {
		t.Errorf("look-up with a context that has ended: %v", err)
	}
	f, err := s.Func(t.Context(), "f") // nothing was sent, so the session is whole
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := f.Call(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if _, err := f.Call(t.Context()); !errors.Is(err, client.ErrSessionLost) {
		t.Errorf("the call after: got %v, want a lost session", err)
	}
}

func TestCloseEndsACallInProgress(t *testing.T) {
	called := make(chan struct{})
	s := mustDial(t, func(p peer) { p.begin(); p.found(); p.next(); close(called); _, _ = io.Copy(io.Discard, p) })
	f, err := s.Func(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := f.Call(t.Context())
		failed <- err
	}()
	<-called
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, client.ErrSessionLost) {
		t.Errorf("got %v, want a lost session", err)
	}
}

func TestArgumentsThatCannotBeSent(t *testing.T) {
	s := mustDial(t, func(p peer) { p.begin(); p.found(); _, _ = io.Copy(io.Discard, p) })
	other := mustDial(t, func(p peer) { p.begin(); p.found(); _, _ = io.Copy(io.Discard, p) })
	foreign, err := other.Func(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range []any{struct{}{}, []int{1}, uint64(1 << 63), foreign, make(chan int)} {
		if _, err := s.Call(t.Context(), "f", 1, arg); err == nil || !strings.Contains(err.Error(), "argument #1") {
			t.Errorf("%T: got %v, want an error with the argument's number", arg, err)
		}
	}
	if _, err := s.NewArray(t.Context(), tvm.DataType{Bits: 8, Lanes: 1}, -1); err == nil {
		t.Error("an array of a negative size was made")
	}
}
