package port

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"maps"
	"math/big"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	native = frame.Magic + "hello"
	http2  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	tvm    = "\x71\xf2\x0f\x00key"
)

// rig is a port, and somebody at each of its listeners who says what is heard there.
type rig struct {
	t    *testing.T
	port *Port
	addr net.Addr
}

func newRig(t *testing.T, l net.Listener, opts Options) *rig {
	t.Helper()
	p, err := New(l, opts)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	for name, protocols := range map[string][]frame.Protocol{
		"native": {frame.ProtocolNative}, "http2": {frame.ProtocolHTTP2}, "tvm": {frame.ProtocolTVM},
	} {
		out := p.Listen(protocols...)
		running.Go(func() { parrot(out, name) })
	}
	running.Go(func() {
		if err := p.Serve(); !errors.Is(err, ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return &rig{t, p, p.Addr()}
}

// parrot says what it is, and then what it hears, until the client has said all; or in the
// clear that there is no TLS.
func parrot(l net.Listener, name string) {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		running.Go(func() {
			defer c.Close()
			heard, err := io.ReadAll(c)
			var record tls.RecordHeaderError
			if errors.As(err, &record) && record.Conn != nil {
				_, _ = io.WriteString(record.Conn, name+": no TLS")
			}
			_, _ = io.WriteString(c, name+":"+string(heard))
		})
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (r *rig) dial() *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr.String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

type halfCloser interface {
	io.ReadWriter
	CloseWrite() error
}

// say sends pieces, and returns the answer: nothing, if the other side has closed before
// all was said.
func say(c halfCloser, pieces ...string) string {
	for _, p := range pieces {
		_, _ = io.WriteString(c, p)
	}
	_ = c.CloseWrite()
	answer, _ := io.ReadAll(c)
	return string(answer)
}

func TestAPortKnowsItsClientsByTheirFirstBytes(t *testing.T) {
	r := newRig(t, listen(t), Options{Patience: 2 * time.Second})
	for _, c := range []struct {
		name   string
		pieces []string
		want   string
	}{
		{"a native client", []string{native}, "native:" + native},
		{"a gRPC client", []string{http2}, "http2:" + http2},
		{"a TVM client", []string{tvm}, "tvm:" + tvm},
		{"one that sends byte by byte", []string{http2[:1], http2[1:2], http2[2:7], http2[7:]}, "http2:" + http2},
		{"a browser", []string{"GET / HTTP/1.1\r\n\r\n"}, ""},
		{"one that ends after half a magic", []string{native[:4]}, ""},
		{"one that says nothing and goes", nil, ""},
		{"TLS, where there is none", []string{"\x16\x03\x01\x00\x00"}, "native:\x16\x03\x01\x00\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := say(r.dial(), c.pieces...); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// certificate makes one that is good for nothing but this test.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"port"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

func TestTLSIsEndedAndLookedInto(t *testing.T) {
	r := newRig(t, listen(t), Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, Patience: 5 * time.Second})
	for name, want := range map[string]string{native: "native:" + native, http2: "http2:" + http2, tvm: "tvm:" + tvm, "\x16\x03\x01": "", "what": ""} {
		c := tls.Client(r.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if got := say(c, name); got != want {
			t.Errorf("%q in TLS: %q, want %q", name, got, want)
		}
		if c.ConnectionState().NegotiatedProtocol != "h2" {
			t.Errorf("ALPN %q", c.ConnectionState().NegotiatedProtocol)
		}
	}
	if got := say(r.dial(), tvm); got != "tvm:"+tvm {
		t.Errorf("without TLS: %q", got)
	}
}

// TestWhoDoesNotSpeakTLSIsClosedWhereItMust: of a native client without it, who listens to
// these learns that, and may answer.
func TestWhoDoesNotSpeakTLSIsClosedWhereItMust(t *testing.T) {
	r := newRig(t, listen(t), Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, Secure: true})
	if got := say(r.dial(), native); got != "native: no TLS" {
		t.Errorf("a native client hears %q", got)
	}
	for _, plain := range []string{http2, tvm} {
		if got := say(r.dial(), plain); got != "" {
			t.Errorf("%q: %q", plain, got)
		}
	}
	if got := say(tls.Client(r.dial(), &tls.Config{InsecureSkipVerify: true}), native); got != "native:"+native {
		t.Errorf("with TLS: %q", got)
	}
}

func TestWhoIsSlowIsClosed(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	r := newRig(t, listen(t), Options{TLS: config, Patience: 50 * time.Millisecond})
	for name, start := range map[string]string{"silent": "", "half a magic": native[:3], "half a TLS": "\x16\x03\x01\x00\x80"} {
		c := r.dial()
		if _, err := io.WriteString(c, start); err != nil {
			t.Fatal(err)
		}
		if answer, _ := io.ReadAll(c); len(answer) > 0 {
			t.Errorf("%s: %q", name, answer)
		}
	}
}

func TestTooManyNewcomersPushTheOldestOut(t *testing.T) {
	r := newRig(t, listen(t), Options{Patience: time.Hour, MostNew: 3})
	var slow []*net.TCPConn
	for range 3 {
		slow = append(slow, r.dial())
	}
	for i := range 3 { // the honest come, and are served at once
		if got := say(r.dial(), native); got != "native:"+native {
			t.Errorf("client %d: %q", i, got)
		}
	}
	if answer, err := io.ReadAll(slow[0]); len(answer) > 0 || errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("the oldest is still there: %q, %v", answer, err)
	}
	if got := say(slow[2], native); got != "native:"+native {
		t.Errorf("the youngest had to go: %q", got)
	}
}

func TestAListenerThatIsClosedTakesNobody(t *testing.T) {
	p, err := New(listen(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve() }()
	r := &rig{t, p, p.Addr()}
	out := p.Listen(frame.ProtocolNative)
	if out.Addr() != p.Addr() {
		t.Errorf("address %v", out.Addr())
	}
	_ = out.Close()
	if _, err := out.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if got := say(r.dial(), native); got != "" {
		t.Errorf("%q", got)
	}
	open := p.Listen(frame.ProtocolNative) // of which nobody accepts
	left := r.dial()
	_, _ = io.WriteString(left, native)
	silent := r.dial()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range []*net.TCPConn{left, silent} {
		if answer, _ := io.ReadAll(c); len(answer) > 0 {
			t.Errorf("%q", answer)
		}
	}
	if err := <-served; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := open.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}

// starved is a listener that has no descriptors at first, and then gives pipes.
type starved struct {
	net.Listener

	mu    sync.Mutex
	fails int
	conns chan net.Conn
	done  chan struct{}
}

func (s *starved) Accept() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *starved) Close() error {
	close(s.done)
	return s.Listener.Close()
}

func TestAPortOutlivesEMFILE(t *testing.T) {
	l := &starved{Listener: listen(t), fails: 3, conns: make(chan net.Conn), done: make(chan struct{})}
	newRig(t, l, Options{})
	here, there := net.Pipe()
	defer here.Close()
	l.conns <- there // it is accepted after all
	if _, err := io.WriteString(here, "nobody's"); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func TestWhatCannotBePeekedIsReplayed(t *testing.T) {
	here, there := net.Pipe()
	go func() {
		for _, b := range http2 {
			_, _ = here.Write([]byte{byte(b)})
		}
		_ = here.Close()
	}()
	c, protocol, err := look(there)
	if err != nil || protocol != frame.ProtocolHTTP2 {
		t.Fatalf("%v, %v", protocol, err)
	}
	if all, err := io.ReadAll(c); string(all) != http2 || err != nil {
		t.Errorf("%q, %v", all, err)
	}
	here, there = net.Pipe()
	_ = here.Close()
	if _, _, err := look(there); !errors.Is(err, io.EOF) {
		t.Errorf("closed: %v", err)
	}
}

// TestWhoIsClosedIsCountedByTheReason, but who has gone by himself is not.
func TestWhoIsClosedIsCountedByTheReason(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	want := func(r *rig, counts map[string]uint64) {
		t.Helper()
		var got map[string]uint64
		for end := time.Now().Add(time.Minute); !maps.Equal(got, counts) && time.Now().Before(end); time.Sleep(time.Millisecond) {
			got = map[string]uint64{}
			for why, n := range r.port.Refused() {
				if n > 0 {
					got[conn.Refusal(why).String()] = n
				}
			}
		}
		if !maps.Equal(got, counts) {
			t.Errorf("counted %v, want %v", got, counts)
		}
	}
	r := newRig(t, listen(t), Options{TLS: config, Secure: true, Patience: time.Hour})
	say(r.dial(), http2)
	say(r.dial(), "what")
	say(r.dial())
	say(tls.Client(r.dial(), &tls.Config{InsecureSkipVerify: true}), native)
	say(tls.Client(r.dial(), &tls.Config{InsecureSkipVerify: true}), "what")
	say(tls.Client(r.dial(), &tls.Config{ServerName: "another"}), native)
	want(r, map[string]uint64{"tls-mismatch": 1, "protocol": 2, "tls": 1})

	r = newRig(t, listen(t), Options{Patience: 50 * time.Millisecond})
	_, _ = io.ReadAll(r.dial())
	want(r, map[string]uint64{"timeout": 1})

	r = newRig(t, listen(t), Options{Patience: time.Hour, MostNew: 1})
	oldest := r.dial()
	_ = r.dial()
	_, _ = io.ReadAll(oldest)
	want(r, map[string]uint64{"overload": 1})
}

func TestBadOptions(t *testing.T) {
	if _, err := New(nil, Options{Patience: -1}); err == nil {
		t.Error("negative patience")
	}
}
