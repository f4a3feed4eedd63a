package tracker

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"

	"rpcpool.dev/internal/certs"
	"rpcpool.dev/rpc/frame"
)

// hello is how a native client begins.
const hello = frame.Magic + " and more"

func TestANativeClientIsGivenToItsHandlerWhole(t *testing.T) {
	for _, pieces := range [][]string{{hello}, {hello[:1], hello[1:3], hello[3:]}, {hello[:4], hello[4:]}} {
		given := make(chan net.Conn, 1)
		h := start(t, Options{Native: func(nc net.Conn) { given <- nc }})
		nc := dialNative(t, h)
		for _, p := range pieces {
			if _, err := io.WriteString(nc, p); err != nil {
				t.Fatal(err)
			}
		}
		taken := <-given
		got := make([]byte, len(hello))
		if _, err := io.ReadFull(taken, got); err != nil || string(got) != hello {
			t.Errorf("sent in %d pieces: the handler reads %q, %v", len(pieces), got, err)
		}
		if _, err := io.WriteString(taken, "welcome"); err != nil {
			t.Fatal(err)
		}
		_ = taken.Close()
		if answer, err := io.ReadAll(nc); err != nil || string(answer) != "welcome" {
			t.Errorf("the client reads %q, %v", answer, err)
		}
		h.join().wantOpen()
	}
}

func TestANativeClientCountsUntilItIsClosed(t *testing.T) {
	given := make(chan net.Conn, 2)
	h := start(t, Options{MaxConns: 1, Native: func(nc net.Conn) { given <- nc }})
	first := dialNative(t, h)
	_, _ = io.WriteString(first, hello)
	taken := <-given
	if n, err := dialNative(t, h).Read(make([]byte, 1)); err == nil {
		t.Errorf("a second connection of at most one is served %d bytes", n)
	}
	_ = taken.Close()
	_ = taken.Close()
	again := dialNative(t, h)
	_, _ = io.WriteString(again, hello)
	taken = <-given
	h.stop()
	if _, err := taken.Read(make([]byte, 64)); err != nil {
		t.Errorf("what had come before the tracker stopped: %v", err)
	}
	if n, err := taken.Read(make([]byte, 64)); err == nil {
		t.Errorf("%d bytes come after the tracker has stopped", n)
	}
	_ = taken.Close()
}

func TestWithoutAHandlerNativeClientsAreRefused(t *testing.T) {
	nc := dialNative(t, start(t, Options{}))
	_, _ = io.WriteString(nc, hello)
	if answer, _ := io.ReadAll(nc); len(answer) > 0 {
		t.Errorf("the client reads %q", answer)
	}
}

func dialNative(t *testing.T, h *harness) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// TestNativeClientsMustHaveTLSWhereThereIs: of one who has none the handler learns that,
// and others are served as ever.
func TestNativeClientsMustHaveTLSWhereThereIs(t *testing.T) {
	cert, key := certs.NewAuthority(t).Issue("tracker")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	given := make(chan net.Conn, 1)
	h := start(t, Options{Native: func(nc net.Conn) { given <- nc }, NativeTLS: &tls.Config{Certificates: []tls.Certificate{pair}}})
	_, _ = io.WriteString(dialNative(t, h), hello)
	plain := <-given
	var record tls.RecordHeaderError
	if n, err := plain.Read(make([]byte, 1)); n > 0 || !errors.As(err, &record) || record.Conn == nil {
		t.Errorf("of one without TLS the handler reads %d bytes, %v", n, err)
	}
	_ = plain.Close()
	secure := tls.Client(dialNative(t, h), &tls.Config{InsecureSkipVerify: true})
	go func() { _, _ = io.WriteString(secure, hello) }()
	taken := <-given
	got := make([]byte, len(hello))
	if _, err := io.ReadFull(taken, got); err != nil || string(got) != hello {
		t.Errorf("the handler reads %q, %v", got, err)
	}
	_ = taken.Close()
	h.join().wantOpen()
}

// TestTheHandlerHearsOfTLSWhereThereIsNone: it has the words to say so.
func TestTheHandlerHearsOfTLSWhereThereIsNone(t *testing.T) {
	given := make(chan net.Conn, 1)
	h := start(t, Options{Native: func(nc net.Conn) { given <- nc }})
	const first = "\x16\x03\x01\x00\x05hello"
	_, _ = io.WriteString(dialNative(t, h), first)
	taken := <-given
	got := make([]byte, len(first))
	if _, err := io.ReadFull(taken, got); err != nil || string(got) != first {
		t.Errorf("the handler reads %q, %v", got, err)
	}
	_ = taken.Close()
}
