package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/internal/certs"
	"rpcpool.dev/rpc/frame"
)

// TestAReplyArrivesBeforeSendReturns: within a process it always does, and over a
// socket it may.
func TestAReplyArrivesBeforeSendReturns(t *testing.T) {
	client, server := &collector{got: map[uint64][]byte{}}, &echo{}
	arrived := false
	toServer, _ := Pair(handlerFunc(func(p Peer, in *In) {
		arrived = in.Type == frame.TypeReply && string(in.Body) == "hello"
		client.Message(p, in)
	}), server)
	m := testCall(1, frame.PriorityNormal, 0)
	m.Body = []byte("hello")
	if err := toServer.Send(t.Context(), m); err != nil || !arrived {
		t.Errorf("no reply when Send returns: %v", err)
	}
	_ = toServer.Close()
}

// handlerFunc is a handler of messages alone.
type handlerFunc func(Peer, *In)

func (f handlerFunc) Message(p Peer, in *In)     { f(p, in) }
func (handlerFunc) Closed(Peer, error, []uint64) {}

// TestHELLOAndACallInOnePacket: a client need not wait for the answer to its
// HELLO.
func TestHELLOAndACallInOnePacket(t *testing.T) {
	hello := frame.Hello{MaxVersion: 1, Limits: frame.Limits{MaxFrame: 1 << 18, MaxMessage: 1 << 20, Window: 1 << 18}}
	wire := frame.Append([]byte(frame.Magic), &frame.Header{Type: frame.TypeHello}, nil, hello.Append(nil))
	wire = frame.Append(wire, &frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1}, nil, []byte("hello"))
	a, b := sockets(t, "unix")
	if _, err := a.Write(wire); err != nil {
		t.Fatal(err)
	}
	c, err := Accept(t.Context(), b, admitAll, &echo{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readHalf(a, frame.TypeHelloAck); err != nil {
		t.Fatal(err)
	}
	if f, err := (stranger{t, a}).next(); err != nil || f.Type != frame.TypeReply || string(f.body) != "hello" {
		t.Errorf("got %+v, %v", f, err)
	}
	_ = a.Close()
	<-c.Done()
}

// TestAnAnswerAndAMessageInOnePacket: what comes behind HELLO_ACK, with it, is
// not lost.
func TestAnAnswerAndAMessageInOnePacket(t *testing.T) {
	a, b := sockets(t, "unix")
	ack := admitAll(&frame.Hello{MaxVersion: 1})
	ack.Limits = frame.Limits{MaxFrame: 1 << 18, MaxMessage: 1 << 20, Window: 1 << 18}
	wire := frame.Append([]byte(frame.Magic), &frame.Header{Type: frame.TypeHelloAck}, nil, ack.Append(nil))
	wire = frame.Append(wire, &frame.Header{Type: frame.TypeReply, Priority: 2, Seq: 1}, nil, []byte("early"))
	if _, err := b.Write(wire); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	c, err := Connect(t.Context(), a, frame.Hello{}, handlerFunc(func(_ Peer, in *In) { got <- string(in.Body) }), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "early" {
		t.Errorf("got %q", s)
	}
	_ = b.Close()
	<-c.Done()
}

// TestACancelOvertakesItsCall: both arrive, in the wrong order, and nothing breaks.
func TestACancelOvertakesItsCall(t *testing.T) {
	q := newQueue()
	q.push(testCall(3, frame.PriorityBulk, 10))
	q.push(&Message{Header: frame.Header{Type: frame.TypeCancel, Seq: 3}})
	var b batch
	q.gather(&b, maxBatch)
	if all := parseFrames(t, bytes.Join(b.left(), nil)); len(all) != 2 || all[0].Type != frame.TypeCancel {
		t.Errorf("sent %+v, want CANCEL first", all)
	}
	seen := make(chan frame.Type, 2)
	s, _ := shakeHands(t, handlerFunc(func(_ Peer, in *In) { seen <- in.Type }), Options{})
	s.send(frame.Header{Type: frame.TypeCancel, Seq: 3}, frame.Ext{}, nil)
	s.send(frame.Header{Type: frame.TypeCall, Priority: 3, Seq: 3}, frame.Ext{}, nil)
	if first, second := <-seen, <-seen; first != frame.TypeCancel || second != frame.TypeCall {
		t.Errorf("handler got %v, %v", first, second)
	}
}

// TestAHalfClosedConnectionIsClosed: who says that it will send nothing more gets
// what was queued for it, and the end.
func TestAHalfClosedConnectionIsClosed(t *testing.T) {
	for _, c := range []struct {
		name string
		last []byte
		want error
	}{
		{"between two frames", nil, ErrPeerClosed},
		{"inside a header", make([]byte, 5), ErrCut},
		{"inside a body", frame.Append(nil, &frame.Header{Type: frame.TypeCall, Priority: 1, Seq: 2}, nil, make([]byte, 9))[:36], ErrCut},
		{"inside a message", frame.Append(nil, &frame.Header{Type: frame.TypeCall, Flags: frame.FlagMore, Priority: 1, Seq: 2},
			(&frame.Ext{MessageLen: 1 << 20}).Append(nil), make([]byte, 100_000)), ErrCut},
	} {
		t.Run(c.name, func(t *testing.T) {
			closed := make(chan error, 1)
			s, _ := shakeHands(t, &echo{closed: closed}, Options{})
			s.send(frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1}, frame.Ext{}, []byte("hello"))
			if _, err := s.nc.Write(c.last); err != nil {
				t.Fatal(err)
			}
			if err := s.nc.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if f, err := s.next(); err != nil || f.Type != frame.TypeReply {
				t.Errorf("the call is answered with %+v, %v", f, err)
			}
			if _, err := s.next(); !errors.Is(err, io.EOF) {
				t.Errorf("the end is %v", err)
			}
			if err := <-closed; !errors.Is(err, c.want) {
				t.Errorf("closed with %v, want %v", err, c.want)
			}
		})
	}
}

// TestARSTWithDataInFlight resets a TCP connection with calls on their way: the
// client is told once, and what it is told to be unsent is not among what the
// server got.
// reset ends a connection by a RST.
func reset(t *testing.T, c *Conn) {
	t.Helper()
	raw, err := c.nc.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	})
	_ = c.nc.Close()
}

func TestARSTWithDataInFlight(t *testing.T) {
	a, b := sockets(t, "tcp")
	client, server := newCaller(), &hoarder{got: make(chan struct{}, 1<<16)}
	c, s := join(t, a, b, client, server, Options{Linger: 10 * time.Millisecond})
	var sent uint64
	for c.TrySend(testCall(sent+1, frame.PriorityNormal, 5000)) == nil {
		if sent++; sent == 40 { // some are in buffers, some in the queue
			reset(t, s)
		}
	}
	err := <-client.closed // by what the kernel says first
	if !errors.Is(err, ErrEPIPE) && !errors.Is(err, ErrCut) && !errors.Is(err, ErrPeerClosed) {
		t.Errorf("closed with %v", err)
	}
	<-s.Done()
	arrived := map[uint64]bool{}
	for _, in := range server.kept {
		arrived[in.Seq] = true
	}
	for _, seq := range client.unsent {
		if arrived[seq] || seq > sent {
			t.Errorf("call %d is told to be unsent", seq)
		}
	}
	server.release()
}

// starved is a listener in a process without free descriptors, for a while.
type starved struct {
	net.Listener
	left atomic.Int32
}

func (l *starved) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestAServerOutlivesEMFILE(t *testing.T) {
	server := startServer(t, &echo{}, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	poor := &starved{Listener: l}
	poor.left.Store(3)
	served := make(chan error, 1)
	go func() { served <- server.Serve(poor) }()
	c := newPoolCaller()
	p := newPool(t, c, nil)
	if _, err := echoOnce(t.Context(), newService(t, p, Endpoint{ID: "a", TCP: l.Addr().String()}), c, "hello"); err != nil {
		t.Error(err)
	}
	if n := poor.left.Load(); n >= 0 {
		t.Errorf("%d failures are left", n)
	}
	_ = server.Close()
	if err := <-served; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestMaxFrameMismatch: each side keeps to the other's bound.
func TestMaxFrameMismatch(t *testing.T) {
	for _, bounds := range [][2]int{{frame.MinMaxFrame, 1 << 20}, {1 << 20, frame.MinMaxFrame}} {
		a, b := sockets(t, "unix")
		client := newCaller()
		var s *Conn
		accepted := make(chan error, 1)
		go func() {
			var err error
			s, err = Accept(t.Context(), b, admitAll, &echo{}, Options{MaxFrame: bounds[1], Window: 2 << 20})
			accepted <- err
		}()
		c, err := Connect(t.Context(), a, frame.Hello{}, client, Options{MaxFrame: bounds[0], Window: 2 << 20})
		if e := <-accepted; err != nil || e != nil {
			t.Fatal(err, e)
		}
		for _, size := range []int{LongBody - 1, LongBody, LongBody + 1, 300_000} {
			body := bytes.Repeat([]byte{7}, size)
			if got, err := client.call(t.Context(), c, 1, body); err != nil || !bytes.Equal(got, body) {
				t.Errorf("bounds %v: %d of %d bytes came back, %v", bounds, len(got), size, err)
			}
		}
		_ = c.Close()
		<-c.Done()
		<-s.Done()
	}
}

// TestVersionsSkewedByOne: a peer of the next version speaks this one with us, and
// what it says beyond what we know is not looked at.
func TestVersionsSkewedByOne(t *testing.T) {
	limits := frame.Limits{MaxFrame: 1 << 18, MaxMessage: 1 << 20, Window: 1 << 18}
	tomorrow := []byte("a field of tomorrow")
	t.Run("a newer client", func(t *testing.T) {
		a, b := sockets(t, "unix")
		hello := frame.Hello{MinVersion: frame.MaxVersion, MaxVersion: frame.MaxVersion + 1, Limits: limits, Features: 1 << 40}
		if err := writeHalf(a, frame.TypeHello, append(hello.Append(nil), tomorrow...)); err != nil {
			t.Fatal(err)
		}
		c, err := Accept(t.Context(), b, admitAll, &echo{}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if v, f := c.Agreed().Version, c.Agreed().Features; v != frame.MaxVersion || f != 0 {
			t.Errorf("agreed on version %d, features %#x", v, f)
		}
		if n := c.Client().MaxVersion; n != frame.MaxVersion+1 {
			t.Errorf("the client is known to speak up to version %d", n)
		}
		_ = a.Close()
		<-c.Done()
	})
	t.Run("a newer server", func(t *testing.T) {
		a, b := sockets(t, "unix")
		ack := frame.HelloAck{Version: frame.MaxVersion, Limits: limits}
		if err := writeHalf(b, frame.TypeHelloAck, append(ack.Append(nil), tomorrow...)); err != nil {
			t.Fatal(err)
		}
		c, err := Connect(t.Context(), a, frame.Hello{}, &echo{}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_ = b.Close()
		<-c.Done()
	})
}

// TestCertificatesAreRotatedUnderLoad changes the server's certificate while calls
// are made, and connections, and none of them fails.
func TestCertificatesAreRotatedUnderLoad(t *testing.T) {
	server := startServer(t, &echo{}, nil)
	oldTLS, trust := certs.NewAuthority(t).TLS("server")
	newTLS, trustNew := certs.NewAuthority(t).TLS("server")
	var current atomic.Pointer[tls.Config]
	current.Store(oldTLS)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return current.Load(), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	roots := trust.RootCAs.Clone()
	both := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "127.0.0.1"}
	for _, c := range newTLS.Certificates {
		roots.AddCert(c.Leaf)
	}
	call := func(trust *tls.Config) error {
		c := newPoolCaller()
		p := newPool(t, c, nil)
		defer p.Close()
		s := newService(t, p, Endpoint{ID: "a", TCP: l.Addr().String(), TLS: trust})
		for range 20 {
			if _, err := echoOnce(t.Context(), s, c, "hello"); err != nil {
				return err
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	for i := range 12 {
		if i == 6 {
			current.Store(newTLS)
		}
		wg.Go(func() {
			if err := call(both); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := call(trustNew); err != nil {
		t.Errorf("the new certificate is not in use: %v", err)
	}
	if err := call(trust); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the old certificate is still in use: %v", err)
	}
	_ = server.Close()
	<-served
}
